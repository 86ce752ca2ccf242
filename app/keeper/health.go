package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/process"
	"github.com/spiffe/spike/internal/role"
)

// healthTimeout is for each of the two steps: to get an identity, and to ask.
// Container engines give a health check 30 s unless told otherwise.
const healthTimeout = 5 * time.Second

// health asks the Keeper on this machine. Any answer from a Keeper's identity
// counts; the right one is a refusal, since only Nexus is served.
func health(ctx context.Context, s settings, log *slog.Logger, stdout io.Writer) (err error) {
	source, err := openIdentity(ctx, s, min(s.sourceTimeout, healthTimeout), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	httpClient := keeper.NewHTTPClient(source, source, func(id spiffeid.ID) bool { return s.roles.Of(id) == role.Keeper })
	defer httpClient.CloseIdleConnections()
	address := process.LocalAddress(s.address)
	client := keeper.NewClient(keeper.ClientConfig{
		URL:     &url.URL{Scheme: "https", Host: address},
		HTTP:    httpClient,
		Timeout: healthTimeout,
	})
	held, err := client.Held(ctx)
	held.Wipe()
	if errors.Is(err, keeper.ErrUnreachable) {
		return fmt.Errorf("no Keeper answers at %s: %w", address, err)
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err = fmt.Fprintf(stdout, "the Keeper at %s is alive\n", address)
	return err
}
