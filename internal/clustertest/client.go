package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/workload"
)

const (
	// patience is how long the cluster may take for anything, on a machine that
	// has other things to do; what it should take is measured elsewhere.
	patience = 60 * time.Second
	pause    = 20 * time.Millisecond
)

// Status is what spike operator status shows.
type Status = api.OperatorStatusResponse

// clients are what was opened so far, to be closed with the cluster.
type clients struct {
	mu      sync.Mutex
	sources map[role.Role]*workloadapi.X509Source
	nexus   map[role.Role]*client.Client
}

func (c *clients) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nexus {
		n.Close()
	}
	var errs []error
	for _, s := range c.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (c *Cluster) roles() role.Domains {
	td := []spiffeid.TrustDomain{c.td}
	return role.Domains{Trusted: td, Nexus: td, Keeper: td, Pilot: td, Lite: td}
}

func (c *Cluster) sourceLocked(ctx context.Context, r role.Role) (*workloadapi.X509Source, error) {
	if s := c.clients.sources[r]; s != nil {
		return s, nil
	}
	s, err := workload.Open(ctx, workload.Config{
		Socket: c.socketOf(r), Timeout: patience, Role: r, Domains: c.roles(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	if c.clients.sources == nil {
		c.clients.sources = map[role.Role]*workloadapi.X509Source{}
	}
	c.clients.sources[r] = s
	return s, nil
}

// Source returns a source of our own executable's identity of a role: one of
// Pilot's three, or Nexus. It is closed with the cluster.
func (c *Cluster) Source(ctx context.Context, r role.Role) (*workloadapi.X509Source, error) {
	c.clients.mu.Lock()
	defer c.clients.mu.Unlock()
	return c.sourceLocked(ctx, r)
}

// Client returns a client of Nexus under an identity of a role. It is closed with
// the cluster.
func (c *Cluster) Client(ctx context.Context, r role.Role) (*client.Client, error) {
	c.clients.mu.Lock()
	defer c.clients.mu.Unlock()
	if n := c.clients.nexus[r]; n != nil {
		return n, nil
	}
	source, err := c.sourceLocked(ctx, r)
	if err != nil {
		return nil, err
	}
	roles := c.roles()
	n := client.New(client.Config{
		URL: c.URL(), SVID: source, Bundles: source,
		Expect: func(id spiffeid.ID) bool { return roles.Of(id) == role.Nexus },
	})
	if c.clients.nexus == nil {
		c.clients.nexus = map[role.Role]*client.Client{}
	}
	c.clients.nexus[r] = n
	return n, nil
}

// Held asks Keeper i, from 1, what it holds, as Nexus does. The caller wipes it.
func (c *Cluster) Held(ctx context.Context, i int) (keeper.Held, error) {
	source, err := c.Source(ctx, role.Nexus)
	if err != nil {
		return keeper.Held{}, err
	}
	roles := c.roles()
	http := keeper.NewHTTPClient(source, source, func(id spiffeid.ID) bool { return roles.Of(id) == role.Keeper })
	defer http.CloseIdleConnections()
	return keeper.NewClient(keeper.ClientConfig{URL: c.KeeperURL(i), HTTP: http}).Held(ctx)
}

// Status asks Nexus for its state.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	n, err := c.Client(ctx, role.Superuser)
	if err != nil {
		return Status{}, err
	}
	return n.OperatorStatus(ctx)
}

// WaitFor asks for the state until it is as wanted; what says what that is. A
// Nexus that has ended is not waited for.
func (c *Cluster) WaitFor(ctx context.Context, what string, wanted func(*Status) bool) (Status, error) {
	var last Status
	err := c.poll(ctx, what, func(ctx context.Context) error {
		if !c.nexus.Running() {
			return errEnded
		}
		status, err := c.Status(ctx)
		if err != nil {
			return err
		}
		last = status
		if !wanted(&status) {
			return fmt.Errorf("it is %s: %s (%+v)", status.State, status.Reason, status.Keepers)
		}
		return nil
	})
	return last, err
}

// WaitOpen waits until Nexus serves.
func (c *Cluster) WaitOpen(ctx context.Context) (Status, error) {
	return c.WaitFor(ctx, "Nexus to open", func(s *Status) bool { return s.State == api.StateOpen })
}

// WaitHealthy waits until Nexus serves and every Keeper holds its share.
func (c *Cluster) WaitHealthy(ctx context.Context) (Status, error) {
	return c.WaitFor(ctx, "an open Nexus with full Keepers", func(s *Status) bool {
		for _, k := range s.Keepers {
			if k.Holds != api.HoldsShare {
				return false
			}
		}
		return s.State == api.StateOpen
	})
}

// errEnded ends a wait early.
var errEnded = errors.New("nexus has ended")

// poll tries again and again until try succeeds.
func (c *Cluster) poll(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, errEnded) {
			return fmt.Errorf("waited for %s: %w:\n%s", what, err, tail(c.nexus.Log(), 5))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, err)
		case <-time.After(pause):
		}
	}
}

func (c *Cluster) identityAnswers(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.program("identity"), "health", "--socket", c.socketFile())
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// Result is how a command of Pilot ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Spike runs Pilot with args.
func (c *Cluster) Spike(ctx context.Context, args ...string) (Result, error) {
	return c.SpikeIn(ctx, strings.NewReader(""), args...)
}

// SpikeIn runs Pilot with stdin. An error means that it could not be run; a code
// of its own is none.
func (c *Cluster) SpikeIn(ctx context.Context, stdin io.Reader, args ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.program("spike"), args...)
	cmd.Env = c.env(role.Superuser, "SPIKE_NEXUS_API_URL="+c.URL().String())
	cmd.Dir = c.dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	return result, err
}
