package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/process"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/workload"
)

// healthTimeout is for each of the two steps: to get an identity, and to ask.
// Container engines give a health check 30 s unless told otherwise.
const healthTimeout = 5 * time.Second

// health asks the Nexus on this machine. Any answer from a Nexus's identity
// counts, a locked one's too: what a restart cannot mend is not ill health.
func health(ctx context.Context, s settings, log *slog.Logger, stdout io.Writer) (err error) {
	source, err := workload.Open(ctx, workload.Config{
		Socket: s.socket, Timeout: min(s.sourceTimeout, healthTimeout),
		Role: role.Nexus, Domains: s.roles, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	transport := &http.Transport{TLSClientConfig: mtls.ClientConfig(source, source,
		func(id spiffeid.ID) bool { return s.roles.Of(id) == role.Nexus })}
	defer transport.CloseIdleConnections()
	address := process.LocalAddress(s.address)
	client := http.Client{Transport: transport, Timeout: healthTimeout}
	// There is nothing at the root; the answer says so, and that suffices.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no Nexus answers at %s: %w", address, err)
	}
	if err := res.Body.Close(); err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	_, err = fmt.Fprintf(stdout, "the Nexus at %s is alive\n", address)
	return err
}
