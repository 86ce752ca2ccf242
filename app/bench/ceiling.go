package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/app/bench/internal/ceiling"
)

// serveCeiling is the command "bench ceiling": a process of its own, as Nexus is.
// It prints where it listens, and ends with ctx.
func serveCeiling(ctx context.Context, lookup func(string) (string, bool), stdout io.Writer) (err error) {
	s, err := readCeilingSettings(lookup)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	source, err := workloadapi.NewX509Source(waiting, workloadapi.WithClientOptions(workloadapi.WithAddr(s.socket)))
	if err != nil {
		return fmt.Errorf("identity from the Workload API at %s: %w", s.socket, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return ceiling.Serve(ctx, listener, source, source)
}
