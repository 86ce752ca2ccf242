// Identity is the SPIFFE Workload API for one machine: it gives X.509-SVIDs to
// local processes by user and executable, so that a local cluster needs no SPIRE.
//
// Which process is who stands in YAML files:
//
//	trust_domain: spike.ist
//	ttl: 1h
//	entries:
//	  - id: /spike/nexus
//	    path: ../bin/nexus     # relative to this file's folder, or absolute
//	  - id: /spike/pilot/role/superuser
//	    path: ../bin/spike
//	    uid: 1000              # every selector given must match
//
// It tells the honest programs of one user apart, not hostile ones: whoever is
// that user can become any of them. Where roles must be kept apart, run them as
// different users, or use SPIRE.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "identity: %v\n", err)
	if errors.Is(err, errUsage) {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}
