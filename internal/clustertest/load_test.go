package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
)

// kept is what people have of a cluster that is no more: a backup and paper.
type kept struct {
	folder  string
	list    []sample
	cluster string
}

func (k *kept) backup() string { return filepath.Join(k.folder, "backup") }

func (k *kept) restore() []string {
	return []string{"operator", "restore", "--file", filepath.Join(k.folder, "paper", "shard-2.txt"),
		"--file", filepath.Join(k.folder, "paper", "shard-3.txt")}
}

// loseAll makes a cluster, keeps a backup of it, and ends it.
func loseAll(t *testing.T) *kept {
	t.Helper()
	c := start(t, Options{})
	k := &kept{folder: t.TempDir(), list: samples(t, t.TempDir())}
	c.put(t, k.list)
	c.spike(t, 0, "operator", "recover", "--dir", filepath.Join(k.folder, "paper"))
	c.spike(t, 0, "operator", "backup", "create", k.backup())
	k.cluster = healthy(t, c).Cluster
	must(t, c.Down())
	return k
}

// TestLoadKilledAtEachStep ends Nexus while it loads a backup. It is uninitialized
// afterwards, or has all of it.
func TestLoadKilledAtEachStep(t *testing.T) {
	t.Parallel()
	k := loseAll(t)
	for _, step := range []struct {
		failpoint string
		loaded    bool
	}{
		{"load.received", false},
		{"load.inspected", false},
		{"load.before-rename", false},
		{"load.renamed", true},
	} {
		t.Run(step.failpoint, func(t *testing.T) {
			t.Parallel()
			c := Prepare(t, Options{Programs: programs})
			must(t, c.Identity().Start(), c.Nexus().Start("SPIKE_FAILPOINT="+step.failpoint), c.Up(t.Context()))
			if r := c.spike(t, 6, "operator", "backup", "load", k.backup()); !strings.Contains(r.Stderr, "not known") {
				t.Errorf("a load without an answer says\n%s", r.Stderr)
			}
			diedAt(t, c, step.failpoint)

			must(t, c.Nexus().Start())
			status, err := c.WaitFor(t.Context(), "an answer", func(*Status) bool { return true })
			must(t, err)
			noLeftovers(t, c)
			switch {
			case !step.loaded && status.State == api.StateUninitialized:
				c.spike(t, 0, "operator", "backup", "load", k.backup())
			case step.loaded && status.State == api.StateLocked && status.Cluster == k.cluster:
				c.spike(t, 7, "operator", "backup", "load", k.backup())
			default:
				t.Fatalf("it is %s, of cluster %q", status.State, status.Cluster)
			}
			c.spike(t, 0, k.restore()...)
			if _, err := c.WaitOpen(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.check(t, k.list)
			c.spike(t, 0, "secret", "put", "after", "k=v")
			c.checkNoTrace(t, k.list)
		})
	}
}

// TestBackupKilled ends Nexus while it copies its store. There is no backup, and
// no harm done.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	list := samples(t, t.TempDir())
	c.put(t, list)
	must(t, c.Nexus().Kill(), c.Nexus().Start("SPIKE_FAILPOINT=backup.copied"))
	healthy(t, c)
	folder := t.TempDir()
	c.spike(t, 6, "operator", "backup", "create", filepath.Join(folder, "backup"))
	diedAt(t, c, "backup.copied")
	if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
		t.Errorf("a backup that broke off has left %v, %v", entries, err)
	}
	must(t, c.Nexus().Start())
	healthy(t, c)
	noLeftovers(t, c)
	c.check(t, list)
	c.spike(t, 0, "operator", "backup", "create", filepath.Join(folder, "backup"))
	noLeftovers(t, c)
	c.checkNoTrace(t, list)
}

// noLeftovers wants nothing in the data folder but the store and its lock.
func noLeftovers(t *testing.T, c *Cluster) {
	t.Helper()
	entries, err := os.ReadDir(c.DataDir())
	must(t, err)
	for _, e := range entries {
		switch e.Name() {
		case "spike.db", "spike.db-wal", "nexus.lock":
		default:
			t.Errorf("the data folder has %s", e.Name())
		}
	}
}
