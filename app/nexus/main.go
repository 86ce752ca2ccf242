// Command nexus serves secrets to workloads over SPIFFE mutual TLS: from memory,
// with every write on disk, encrypted, before it is answered.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A reader of the audit log that goes away makes requests fail, and does not
	// end the program.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "nexus:", err)
		os.Exit(exitCode(err))
	}
}
