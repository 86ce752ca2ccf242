// Package process has what every server of SPIKE does when it starts.
package process

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ForbidCore keeps the kernel from writing a core file of this process, which
// could hold key material.
func ForbidCore() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files, which could hold key material: %w", err)
	}
	return nil
}

// Listen listens on a TCP address; setting is the variable that it came from.
func Listen(address, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program, perhaps an earlier one of this kind that still "+
			"runs: stop that one, or set %s to another port", address, setting)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s (%s): %w", address, setting, err)
	}
	return l, nil
}

// LocalAddress is where a listener on address is reached from this machine.
func LocalAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
