// Command spike is SPIKE's command line: it keeps secrets in Nexus and operates
// the cluster.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spiffe/spike/app/pilot/internal/cli"
)

//go:generate go run ./internal/reference ../../docs

func main() {
	// A reader of the output that goes away must not end what is being done.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends a command in an orderly way, a second one at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Report(os.Stderr, run(ctx, os.Args[1:])))
}
