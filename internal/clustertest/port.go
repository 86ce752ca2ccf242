package clustertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports are taken below the range from which the kernel serves outgoing
// connections (32768 and up), so that none of those comes in between.
const (
	firstPort = 20000
	lastPort  = 32000
)

// port is a free port of 127.0.0.1 that is kept from other clusters. Whatever is
// to listen on it can do so.
type port struct {
	number int
	// claim is an abstract Unix socket with the port's number in its name: a lock
	// among processes and goroutines that the kernel lets go of in any case.
	claim net.Listener
}

// takePorts finds n of them. The caller releases each.
func takePorts(n int) (ports []*port, err error) {
	for range 100 * n {
		if len(ports) == n {
			return ports, nil
		}
		row, err := takeRow(1)
		if err != nil {
			return nil, errors.Join(err, releaseAll(ports))
		}
		ports = append(ports, row...)
	}
	return nil, errors.Join(fmt.Errorf("found %d free ports of %d", len(ports), n), releaseAll(ports))
}

// takeRow finds n of them that follow each other.
func takeRow(n int) (ports []*port, err error) {
	for range 1000 {
		first := firstPort + rand.IntN(lastPort-firstPort-n)
		for number := first; number < first+n; number++ {
			p, err := takePort(number)
			if err != nil {
				return nil, errors.Join(err, releaseAll(ports))
			}
			if p == nil {
				break
			}
			ports = append(ports, p)
		}
		if len(ports) == n {
			return ports, nil
		}
		if err := releaseAll(ports); err != nil {
			return nil, err
		}
		ports = nil
	}
	return nil, fmt.Errorf("found no %d free ports in a row", n)
}

// takePort returns nil when somebody else has the port.
func takePort(number int) (*port, error) {
	claim, err := net.Listen("unix", fmt.Sprintf("@spike-clustertest-port-%d", number))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &port{number: number, claim: claim}
	listener, err := net.Listen("tcp", p.address())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, p.release()
	}
	if err != nil {
		return nil, errors.Join(err, p.release())
	}
	return p, listener.Close()
}

func releaseAll(ports []*port) error {
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.release())
	}
	return errors.Join(errs...)
}

func (p *port) release() error { return p.claim.Close() }

func (p *port) address() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }
func (p *port) url() string     { return "https://" + p.address() }
