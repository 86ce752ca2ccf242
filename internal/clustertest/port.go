package clustertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	defer func() {
		if err != nil {
			for _, p := range ports {
				err = errors.Join(err, p.release())
			}
			ports = nil
		}
	}()
	for range 100 * n {
		if len(ports) == n {
			return ports, nil
		}
		number := firstPort + rand.IntN(lastPort-firstPort)
		claim, err := net.Listen("unix", fmt.Sprintf("@spike-clustertest-port-%d", number))
		if err != nil {
			continue // another cluster has it
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", number))
		if err != nil {
			if err := claim.Close(); err != nil {
				return ports, err
			}
			continue // something else listens there
		}
		p := &port{number: number, claim: claim}
		ports = append(ports, p)
		if err := listener.Close(); err != nil {
			return ports, err
		}
	}
	return ports, fmt.Errorf("found %d free ports of %d", len(ports), n)
}

func (p *port) release() error { return p.claim.Close() }

func (p *port) address() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }
func (p *port) url() string     { return "https://" + p.address() }
