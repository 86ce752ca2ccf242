package clustertest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
)

func TestKilledNexusComesBack(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)
	c.check(t, list)

	must(t, c.Nexus().Kill(), c.Nexus().Start())
	if _, err := c.WaitOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.check(t, list)

	// Nobody is needed for it with a Keeper down, either.
	must(t, c.Nexus().Kill(), c.Keeper(2).Kill(), c.Nexus().Start())
	status, err := c.WaitOpen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, list)
	if k := status.Keepers[1]; k.Reachable || k.Detail == "" {
		t.Errorf("status says of the Keeper that is down: %+v", k)
	}
	if status.Spare == nil || *status.Spare != 0 {
		t.Errorf("with one of three Keepers down and two needed, %v more may be lost", status.Spare)
	}
	c.checkNoTrace(t, list)
}

func TestLockedUntilEnoughKeepers(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)

	// One has lost its share for good; the other keeps it, but answers nobody.
	must(t, c.Nexus().Kill(), c.Keeper(1).Kill(), c.Keeper(2).Freeze(), c.Nexus().Start())
	status, err := c.WaitFor(t.Context(), "Nexus to be locked", func(s *Status) bool { return s.State == api.StateLocked })
	if err != nil {
		t.Fatal(err)
	}
	holding := 0
	for _, k := range status.Keepers {
		if k.Reachable && k.Holds == api.HoldsShare {
			holding++
		}
	}
	if holding != 1 || status.Spare == nil || *status.Spare != -1 || status.Reason == "" {
		t.Errorf("status is %+v", status)
	}
	if _, err := c.superuser(t).SecretGet(t.Context(), list[0].path, 0); !errors.Is(err, api.ErrNotReady) {
		t.Errorf("a read of a locked Nexus: %v", err)
	}
	got := c.spike(t, 5, "secret", "get", list[0].path)
	if got.Stdout != "" || !strings.Contains(got.Stderr, "locked") || !strings.Contains(got.Stderr, c.KeeperURL(1).String()) {
		t.Errorf("a get while locked prints %q and %q", got.Stdout, got.Stderr)
	}
	c.spike(t, 5, "operator", "status", "--check")
	if out := c.spike(t, 0, "operator", "status").Stdout; !strings.Contains(out, "locked") {
		t.Errorf("status prints\n%s", out)
	}

	must(t, c.Keeper(2).Thaw())
	if _, err := c.WaitOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.check(t, list)
	must(t, c.Keeper(1).Start())
	healthy(t, c)
}

// active returns the share that is active in a Keeper, without its value's owner.
func active(t *testing.T, c *Cluster, i int) keeper.Share {
	t.Helper()
	held, err := c.Held(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if held.Active == nil {
		t.Fatalf("Keeper %d has no active share", i)
	}
	return *held.Active
}

func TestEmptyKeeperIsRefilled(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)
	before := active(t, c, 1)

	must(t, c.Keeper(1).Kill(), c.Keeper(1).Start())
	began := time.Now()
	healthy(t, c)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("an empty Keeper was full after %s", took)
	}
	after := active(t, c, 1)
	if before.Value != after.Value || before.Tag.Index != after.Tag.Index || before.Tag.Cluster != after.Tag.Cluster ||
		before.Tag.KeyID != after.Tag.KeyID || !bytes.Equal(before.Tag.PublicKey, after.Tag.PublicKey) {
		t.Error("the share that a Keeper got back is not the one that it had")
	}

	// It is good for a recovery, too: with another one down it is needed.
	must(t, c.Nexus().Kill(), c.Keeper(3).Kill(), c.Nexus().Start())
	if _, err := c.WaitOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.check(t, list)
}

// TestKeepersOneAfterTheOther restarts every Keeper while Nexus lives, and lets it
// rest on what they were given back.
func TestKeepersOneAfterTheOther(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)
	for _, k := range c.Keepers() {
		must(t, k.Stop(), k.Start())
		if _, err := c.WaitFor(t.Context(), k.Name()+" to be filled", func(s *Status) bool {
			return s.Spare != nil && *s.Spare == 1
		}); err != nil {
			t.Fatal(err)
		}
	}
	must(t, c.Nexus().Kill(), c.Nexus().Start())
	healthy(t, c)
	c.check(t, list)
}

func TestEverythingStoppedAndStarted(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)
	folder := filepath.Join(t.TempDir(), "paper")
	files := strings.Fields(c.spike(t, 0, "operator", "recover", "--dir", folder).Stdout)
	if len(files) != 3 {
		t.Fatalf("recover wrote %q", files)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}

	must(t, c.Down(), c.Up(t.Context()))
	c.spike(t, 5, "secret", "list")
	c.spike(t, 0, "operator", "restore", "--file", files[2])
	c.spike(t, 7, "operator", "restore", "--file", files[2])
	c.spike(t, 5, "secret", "list")
	c.spike(t, 0, "operator", "restore", "--file", files[0])
	healthy(t, c)
	c.check(t, list)

	// The Keepers are full again, and Nexus needs nobody.
	must(t, c.Nexus().Kill(), c.Nexus().Start())
	healthy(t, c)
	c.check(t, list)
	c.spike(t, 7, "operator", "init")
	c.checkNoTrace(t, list)
}

func TestIdentityProviderRestarts(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)
	before := active(t, c, 1)
	must(t, c.Identity().Kill())
	// Without a provider, those who have an identity go on.
	if _, err := c.superuser(t).SecretGet(t.Context(), list[0].path, 0); err != nil {
		t.Error(err)
	}
	c.spike(t, 6, "secret", "list")
	// A provider that starts has another CA: all take up its certificates.
	must(t, c.Identity().Start())
	if err := c.poll(t.Context(), "Pilot to be served again", func(ctx context.Context) error {
		r, err := c.Spike(ctx, "secret", "list")
		if err == nil && r.Code != 0 {
			err = errors.New(r.Stderr)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	must(t, c.Nexus().Kill(), c.Nexus().Start())
	healthy(t, c)
	c.check(t, list)
	if active(t, c, 1).Value != before.Value {
		t.Error("a Keeper's share changed")
	}
}

func TestMemoryBackend(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Programs: programs, Backend: "memory"})
	if _, err := c.WaitOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := samples(t, t.TempDir())
	c.put(t, list)
	c.check(t, list)
	c.spike(t, 1, "operator", "init")
	c.spike(t, 1, "operator", "recover", "--dir", filepath.Join(t.TempDir(), "paper"))
	must(t, c.Nexus().Kill(), c.Nexus().Start())
	if _, err := c.WaitOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.spike(t, 3, "secret", "get", list[0].path)
}

// TestSecondNexusIsRefused starts another one over the same data, on a port of its
// own.
func TestSecondNexusIsRefused(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	free, err := takePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, free[0].release()) }()
	first := c.Nexus()
	second := &Process{name: "nexus-2", path: first.path, env: first.env, log: filepath.Join(c.dir, "log", "nexus-2.log")}
	must(t, second.Start("SPIKE_NEXUS_TLS_PORT="+free[0].address()))
	exit, err := second.Ended(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if exit == nil || !strings.Contains(second.Log(), c.DataDir()) {
		t.Errorf("a second Nexus ended with %v and said:\n%s", exit, second.Log())
	}
	healthy(t, c)
}

// TestKeeperIsSmall looks at a Keeper's memory after it has been asked a thousand
// times.
func TestKeeperIsSmall(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	for range 1000 {
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, k := range c.Keepers() {
		must(t, errIf(c.Held(t.Context(), i+1)))
		resident, err := k.Resident()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s holds %.1f MB", k.Name(), float64(resident)/1e6)
		if resident >= 18e6 {
			t.Errorf("%s holds %.1f MB of memory, and may have 18", k.Name(), float64(resident)/1e6)
		}
	}
}

func errIf[T any](_ T, err error) error { return err }
