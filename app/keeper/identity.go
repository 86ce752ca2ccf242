package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/spiffe/spike/internal/role"
)

// openIdentity waits at most timeout for an identity of a Keeper from the
// Workload API. The caller closes the source, which follows every later update.
func openIdentity(ctx context.Context, s settings, timeout time.Duration, log *slog.Logger) (*workloadapi.X509Source, error) {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	watch := &watchLog{log: log, socket: s.socket}
	// Left to its defaults, gRPC would wait up to two minutes before it tries a
	// provider again that was gone for a while.
	retry := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}
	source, err := workloadapi.NewX509Source(waiting,
		workloadapi.WithDefaultX509SVIDPicker(func(svids []*x509svid.SVID) *x509svid.SVID {
			return pick(svids, &s.roles)
		}),
		workloadapi.WithClientOptions(
			workloadapi.WithAddr(s.socket),
			workloadapi.WithLogger(watch),
			workloadapi.WithBackoffStrategy(steady{}),
			workloadapi.WithDialOptions(grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: retry, MinConnectTimeout: 2 * time.Second,
			})),
		))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no identity from the Workload API at %s within %s (%s): "+
			"start the SPIFFE provider, check SPIFFE_ENDPOINT_SOCKET, and see in the provider's log "+
			"whether this program has an entry", s.socket, timeout, watch.lastError())
	} else if err != nil {
		return nil, fmt.Errorf("identity from the Workload API at %s: %w", s.socket, err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("own identity: %w", err), source.Close())
	}
	if s.roles.Of(svid.ID) != role.Keeper {
		return nil, errors.Join(fmt.Errorf("the Workload API gave this program the identity %s, which is not a Keeper's: "+
			"give it an entry for /spike/keeper in the trust domain %s, or check SPIKE_TRUST_ROOT",
			svid.ID, s.roles.Keeper[0]), source.Close())
	}
	return source, nil
}

// pick prefers a Keeper's identity, wherever it stands among several.
func pick(svids []*x509svid.SVID, roles *role.Domains) *x509svid.SVID {
	for _, svid := range svids {
		if roles.Of(svid.ID) == role.Keeper {
			return svid
		}
	}
	return svids[0]
}

// steady is a backoff that does not grow: there is one local socket to ask.
type steady struct{}

func (steady) NewBackoff() workloadapi.Backoff { return steady{} }
func (steady) Next() time.Duration             { return time.Second }
func (steady) Reset()                          {}

// quietFor is how long the watch must have been without an error before the next
// one is worth a warning of its own.
const quietFor = time.Minute

// watchLog turns go-spiffe's log into one warning per outage of the Workload API.
type watchLog struct {
	log    *slog.Logger
	socket string

	mu   sync.Mutex
	last string
	when time.Time
}

func (w *watchLog) lastError() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == "" {
		return "it does not answer"
	}
	return w.last
}

func (w *watchLog) Errorf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	w.mu.Lock()
	say := w.log.Debug
	if time.Since(w.when) > quietFor {
		say = w.log.Warn
	}
	w.last, w.when = message, time.Now()
	w.mu.Unlock()
	say("the Workload API does not answer, trying on", "socket", w.socket, "error", message)
}

func (w *watchLog) Warnf(format string, args ...any) { w.Errorf(format, args...) }

func (w *watchLog) Infof(format string, args ...any) { w.Debugf(format, args...) }

func (w *watchLog) Debugf(format string, args ...any) {
	w.log.Debug("workload API", "message", fmt.Sprintf(format, args...))
}
