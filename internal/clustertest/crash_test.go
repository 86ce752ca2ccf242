package clustertest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
)

// diedAt waits for the end of a Nexus that was to end at a failpoint.
func diedAt(t *testing.T, c *Cluster, failpoint string) {
	t.Helper()
	exit, err := c.Nexus().Ended(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if exit == nil || exit.Error() != "signal: killed" {
		t.Fatalf("Nexus did not end at %s, but with %v", failpoint, exit)
	}
}

// TestInitKilledAtEachStep ends Nexus at each step of the birth of a cluster.
// Before the header is committed nothing was born, and the next init makes a
// cluster; after it, the cluster is there, and Nexus finds its key by itself.
func TestInitKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		failpoint string
		born      bool
	}{
		{"init.contributed:1", false},
		{"init.contributed:2", false},
		{"init.contributed:3", false},
		{"init.read-back:1", false},
		{"init.read-back:2", false},
		{"init.read-back:3", false},
		{"init.before-commit", false},
		{"init.committed", true},
		{"init.promoted:1", true},
		{"init.promoted:2", true},
		{"init.promoted:3", true},
	} {
		t.Run(step.failpoint, func(t *testing.T) {
			t.Parallel()
			c := Prepare(t, Options{Programs: programs})
			must(t, c.Identity().Start(), c.Nexus().Start("SPIKE_FAILPOINT="+step.failpoint), c.Up(t.Context()))
			r := c.spike(t, 6, "operator", "init")
			if !strings.Contains(r.Stderr, "not known") {
				t.Errorf("init without an answer says\n%s", r.Stderr)
			}
			diedAt(t, c, step.failpoint)

			must(t, c.Up(t.Context()))
			if step.born {
				if _, err := c.WaitOpen(t.Context()); err != nil {
					t.Fatal(err)
				}
				c.spike(t, 7, "operator", "init")
			} else {
				status, err := c.Status(t.Context())
				if err != nil || status.State != api.StateUninitialized {
					t.Fatalf("the state is %s, %v", status.State, err)
				}
				c.spike(t, 0, "operator", "init")
			}
			oneCluster(t, c)
		})
	}
}

// oneCluster checks that Nexus and all Keepers are of the same cluster, and that
// it lives: it keeps a secret over a restart, and has paper that opens it.
func oneCluster(t *testing.T, c *Cluster) {
	t.Helper()
	status := healthy(t, c)
	for i := range c.Keepers() {
		held, err := c.Held(t.Context(), i+1)
		if err != nil {
			t.Fatal(err)
		}
		if held.Active == nil || held.Active.Tag.Cluster != status.Cluster || held.Active.Tag.KeyID != status.KeyID {
			t.Errorf("Keeper %d has another cluster's share", i+1)
		}
		if held.Pending != nil {
			t.Errorf("Keeper %d has something pending", i+1)
		}
		held.Wipe()
	}
	c.spike(t, 0, "secret", "put", "a/b", "k=v")
	paper := filepath.Join(t.TempDir(), "paper")
	c.spike(t, 0, "operator", "recover", "--dir", paper)
	must(t, c.Nexus().Kill(), c.Nexus().Start())
	healthy(t, c)
	if got := c.spike(t, 0, "secret", "get", "a/b", "k").Stdout; got != "v" {
		t.Errorf("a secret came back as %q", got)
	}
	must(t, c.Down(), c.Up(t.Context()))
	c.spike(t, 0, "operator", "restore", "--file", filepath.Join(paper, "shard-3.txt"), "--file", filepath.Join(paper, "shard-1.txt"))
	if again := healthy(t, c); again.Cluster != status.Cluster {
		t.Errorf("the cluster %s became %s", status.Cluster, again.Cluster)
	}
	if got := c.spike(t, 0, "secret", "get", "a/b", "k").Stdout; got != "v" {
		t.Errorf("a secret came back as %q", got)
	}
}

// TestCommitKilled ends Nexus around a commit: what was answered is there after
// the restart, and what was not is there wholly or not at all.
func TestCommitKilled(t *testing.T) {
	t.Parallel()
	for failpoint, kept := range map[string]bool{"commit.before": false, "commit.after": true, "commit.published": true} {
		t.Run(failpoint, func(t *testing.T) {
			t.Parallel()
			const last = 5
			c := start(t, Options{})
			must(t, c.Nexus().Kill(), c.Nexus().Start(fmt.Sprintf("SPIKE_FAILPOINT=%s:%d", failpoint, last)))
			if _, err := c.WaitOpen(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= last; i++ {
				_, err := c.superuser(t).SecretPut(t.Context(), api.SecretPutRequest{
					Path: fmt.Sprintf("s/%d", i), Values: api.Values{"k": fmt.Sprint(i)},
				})
				if i < last && err != nil {
					t.Fatal(err)
				}
				if i == last && !errors.Is(err, client.ErrUnanswered) {
					t.Fatalf("a put without an answer: %v", err)
				}
			}
			diedAt(t, c, failpoint)

			must(t, c.Nexus().Start())
			healthy(t, c)
			for i := 1; i <= last; i++ {
				gone, err := lost(t.Context(), c.superuser(t), fmt.Sprintf("s/%d", i), fmt.Sprint(i))
				must(t, err)
				if gone == (i < last || kept) {
					t.Errorf("secret %d is there: %v", i, !gone)
				}
			}
			c.spike(t, 0, "secret", "put", "after", "k=v")
		})
	}
}

func TestRestoreKilled(t *testing.T) {
	t.Parallel()
	for _, failpoint := range []string{"restore.collected:1", "restore.collected:2"} {
		t.Run(failpoint, func(t *testing.T) {
			t.Parallel()
			c := start(t, Options{})
			list := samples(t, t.TempDir())
			c.put(t, list)
			paper := filepath.Join(t.TempDir(), "paper")
			c.spike(t, 0, "operator", "recover", "--dir", paper)
			restore := []string{"operator", "restore", "--file", filepath.Join(paper, "shard-1.txt"),
				"--file", filepath.Join(paper, "shard-2.txt")}

			must(t, c.Down(), c.Identity().Start(), c.Nexus().Start("SPIKE_FAILPOINT="+failpoint), c.Up(t.Context()))
			c.spike(t, 6, restore...)
			diedAt(t, c, failpoint)

			must(t, c.Up(t.Context()))
			c.spike(t, 0, restore...)
			healthy(t, c)
			c.check(t, list)
		})
	}
}
