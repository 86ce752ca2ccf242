package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStorageFaultHasItsExitCode: a supervisor can tell a store that failed, which
// the next start reads anew, from one that is damaged, which no start mends.
func TestStorageFaultHasItsExitCode(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	c.spike(t, 0, "secret", "put", "a/b", "k=v")
	must(t, c.Nexus().Kill(), c.Nexus().Start("SPIKE_FAULT=fail-commits"))
	healthy(t, c)
	c.spike(t, 1, "secret", "put", "a/c", "k=v")
	endsWith(t, c, "exit status 3", "the store failed while Nexus served")

	must(t, c.Nexus().Start())
	healthy(t, c)
	if got := c.spike(t, 0, "secret", "get", "a/b", "k").Stdout; got != "v" {
		t.Errorf("after the fault, a secret is %q", got)
	}
	// What was answered with 500 may be there or not; here it had been committed.
	c.spike(t, 0, "secret", "get", "a/c", "k")

	must(t, c.Nexus().Stop())
	damage(t, c)
	for range 2 {
		before := len(c.Nexus().Log())
		must(t, c.Nexus().Start())
		endsWith(t, c, "exit status 4", "the store was not opened, and nothing was served: load the store: the store is damaged")
		// It had its root key, and served nobody.
		for _, wrong := range []string{"locked: the Keepers did not give the root key", "while Nexus served", "until Nexus is started again"} {
			if strings.Contains(c.Nexus().Log()[before:], wrong) {
				t.Errorf("its log says %q:\n%s", wrong, c.Nexus().Log()[before:])
			}
		}
	}
}

func endsWith(t *testing.T, c *Cluster, want, says string) {
	t.Helper()
	began := time.Now()
	exit, err := c.Nexus().Ended(t.Context())
	must(t, err)
	t.Logf("Nexus ended after %s with %v", time.Since(began).Round(time.Millisecond), exit)
	if exit == nil || exit.Error() != want {
		t.Errorf("Nexus ended with %v, want %s", exit, want)
	}
	if last := tail(c.Nexus().Log(), 1); !strings.Contains(last, says) {
		t.Errorf("its last line is %q, want one that says %q", last, says)
	}
}

// damage changes one bit of the last row that the store has.
func damage(t *testing.T, c *Cluster) {
	t.Helper()
	file := filepath.Join(c.DataDir(), "spike.db")
	content, err := os.ReadFile(file)
	must(t, err)
	at := len(content) - 1
	for content[at] == 0 {
		at--
	}
	content[at] ^= 1
	must(t, os.WriteFile(file, content, 0o600))
}
