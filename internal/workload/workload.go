// Package workload gets a program's identity from the SPIFFE Workload API and
// follows its updates.
package workload

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

// Config says whose identity is wanted and where it comes from.
type Config struct {
	Socket  string // the Workload API's address, unix:///…
	Timeout time.Duration
	Role    role.Role // that the identity must have
	Domains role.Domains
	Log     *slog.Logger
}

// Open waits at most Timeout for an identity with the role. The caller closes
// the source, which follows every later update. The errors are for operators.
func Open(ctx context.Context, c Config) (*workloadapi.X509Source, error) {
	waiting, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	watch := &watchLog{log: c.Log, socket: c.Socket}
	// Left to its defaults, gRPC would wait up to two minutes before it tries a
	// provider again that was gone for a while.
	retry := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}
	source, err := workloadapi.NewX509Source(waiting,
		workloadapi.WithDefaultX509SVIDPicker(c.pick),
		workloadapi.WithClientOptions(
			workloadapi.WithAddr(c.Socket),
			workloadapi.WithLogger(watch),
			workloadapi.WithBackoffStrategy(steady{}),
			workloadapi.WithDialOptions(grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: retry, MinConnectTimeout: 2 * time.Second,
			})),
		))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no identity from the Workload API at %s within %s (%s): "+
			"start the SPIFFE provider, check SPIFFE_ENDPOINT_SOCKET, and see in the provider's log "+
			"whether this program has an entry", c.Socket, c.Timeout, watch.lastError())
	} else if err != nil {
		return nil, fmt.Errorf("identity from the Workload API at %s: %w", c.Socket, err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("own identity: %w", err), source.Close())
	}
	if c.Domains.Of(svid.ID) != c.Role {
		return nil, errors.Join(fmt.Errorf("the Workload API gave this program the identity %s, which does not "+
			"have the role %s: give it an entry for %s in the trust domain that SPIKE_TRUST_ROOT names first, "+
			"or check that variable", svid.ID, c.Role, c.Role.Path()), source.Close())
	}
	return source, nil
}

// pick prefers an identity with the role, wherever it stands among several.
func (c *Config) pick(svids []*x509svid.SVID) *x509svid.SVID {
	for _, svid := range svids {
		if c.Domains.Of(svid.ID) == c.Role {
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
