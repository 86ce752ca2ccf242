package clustertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/role"
)

// programs is where the binaries under test are, built once for all tests. Nexus
// can be made to end at the places that package failpoint names.
var programs string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// holder names the programs for a run of this very executable that starts a
// cluster, prints its pids and waits to be killed.
const holder = "SPIKE_CLUSTERTEST_HOLD"

func run(m *testing.M) int {
	if programs := os.Getenv(holder); programs != "" {
		return hold(programs)
	}
	dir, err := os.MkdirTemp("", "spike-programs-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		programs = filepath.Join(dir, "bin")
		err = Build(context.Background(), programs, "failpoint")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start returns a cluster that has been initialized and whose Keepers are full.
func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	o.Programs = programs
	c := Start(t, o)
	c.spike(t, 0, "operator", "init")
	healthy(t, c)
	return c
}

func healthy(t *testing.T, c *Cluster) Status {
	t.Helper()
	status, err := c.WaitHealthy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// spike runs Pilot, wants the exit code, and returns what it printed.
func (c *Cluster) spike(t *testing.T, code int, args ...string) Result {
	t.Helper()
	r, err := c.Spike(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != code {
		t.Fatalf("spike %q: exit code %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

func (c *Cluster) superuser(t *testing.T) *client.Client {
	t.Helper()
	n, err := c.Client(t.Context(), role.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
