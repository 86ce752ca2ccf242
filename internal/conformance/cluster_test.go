package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

var (
	requests = flag.Int("requests", 10_000, "how many requests TestOracle makes up")
	rotation = flag.Duration("rotation", time.Minute, "how long TestRotation goes on")
	programs string // the folder of the programs
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spike-conformance-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		programs = filepath.Join(dir, "bin")
		err = clustertest.Build(context.Background(), programs, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// start starts a cluster of a world: open, new, memory or lite.
func (w *world) start(t *testing.T, kind string, settings ...string) *clustertest.Cluster {
	t.Helper()
	o := clustertest.Options{Programs: programs, Socket: w.socket, Nexus: settings}
	switch kind {
	case "open", "new":
	case "memory", "lite":
		o.Backend = kind
	default:
		t.Fatalf("%q is no cluster", kind)
	}
	c := clustertest.Start(t, o)
	if kind == "open" || kind == "lite" {
		must(t, w.initialize(t.Context(), c))
	}
	return c
}

func (w *world) initialize(ctx context.Context, c *clustertest.Cluster) error {
	n, err := c.Client(ctx, role.Superuser)
	if err != nil {
		return err
	}
	if _, err := n.OperatorInit(ctx); err != nil {
		return err
	}
	_, err = c.WaitHealthy(ctx)
	return err
}

// step does what stands behind "step:".
func (w *world) step(ctx context.Context, c *clustertest.Cluster, step string) error {
	switch step {
	case "init":
		return w.initialize(ctx, c)
	case "restart nexus":
		if err := c.Nexus().Stop(); err != nil {
			return err
		}
		return c.Nexus().Start()
	case "empty the keepers":
		for _, k := range c.Keepers() {
			if err := k.Kill(); err != nil {
				return err
			}
			if err := k.Start(); err != nil {
				return err
			}
		}
		return nil
	case "kill a keeper":
		return c.Keeper(1).Kill()
	case "copy the store":
		return withoutNexus(c, func() error {
			return exec.CommandContext(ctx, "cp", "-a", c.DataDir(), c.DataDir()+".copy").Run()
		})
	case "put the copy back":
		return withoutNexus(c, func() error {
			return errors.Join(os.RemoveAll(c.DataDir()), os.Rename(c.DataDir()+".copy", c.DataDir()))
		})
	case "lose the store":
		return withoutNexus(c, func() error { return os.RemoveAll(c.DataDir()) })
	case "wait until the keepers were told":
		// Anchors are sent at most a second behind.
		return wait(ctx, 2*time.Second)
	}
	if state, ok := strings.CutPrefix(step, "wait until "); ok {
		_, err := c.WaitFor(ctx, state, func(s *clustertest.Status) bool {
			return s.State == state && (state == api.StateOpen || reachable(s))
		})
		return err
	}
	return fmt.Errorf("%q is no step", step)
}

// withoutNexus does something to a store that nobody has open.
func withoutNexus(c *clustertest.Cluster, do func() error) error {
	if err := c.Nexus().Stop(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return c.Nexus().Start()
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func reachable(s *clustertest.Status) bool {
	for _, k := range s.Keepers {
		if !k.Reachable {
			return false
		}
	}
	return true
}
