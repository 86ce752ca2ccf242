// Command drill loses parts of scratch clusters on purpose, brings each back as an
// operator would, and compares every secret before and after. See scripts/drill.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spiffe/spike/internal/trace"
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == forcing {
		fmt.Fprintln(os.Stderr, "drill:", trace.ExecForcing(os.Args[2], os.Args[3:], os.Environ()))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, errFailed):
		os.Exit(1) // the table has said which
	case err != nil:
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(2)
	}
}
