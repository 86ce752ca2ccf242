// Command spike is SPIKE's command line: it keeps secrets in Nexus and operates
// the cluster.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/cli"
)

//go:generate go run ./internal/reference ../../docs

// completionTime is how long a shell waits for what it offers, and does nothing else.
// Whoever waits longer types on.
const completionTime = 800 * time.Millisecond

func main() { os.Exit(command(completionTime)) }

// command runs the command line and returns the exit code.
func command(completionTime time.Duration) int {
	// A reader of the output that goes away must not end what is being done.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends a command in an orderly way, a second one at once.
	context.AfterFunc(ctx, stop)
	return cli.Report(os.Stderr, run(ctx, os.Args[1:], completionTime))
}
