package rootkey_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// with returns the lines that have all of those words.
func (j *journal) with(words ...string) (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		has := true
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			lines = append(lines, line)
		}
	}
	return lines
}

func (w *world) journal() *journal {
	j := &journal{}
	w.log = slog.NewTextHandler(j, nil)
	return j
}

// TestWrongDataFolder: a Nexus that was given another cluster's store stays locked.
// It says what may be wrong, and nothing that would empty the Keepers, which open
// the right one.
func TestWrongDataFolder(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	right := n.init()
	n.put("p")
	n.stop()
	// The other cluster had its Keepers at the same places.
	urls := make([]string, len(w.keepers))
	for i, k := range w.keepers {
		urls[i] = k.url()
	}
	birth, err := vault.NewBirth(urls, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(birth.Destroy)
	other := newWorld(t, 0, 2)
	o := other.start()
	if err := o.vault.Create(t.Context(), birth); err != nil {
		t.Fatal(err)
	}
	o.stop()

	log := w.journal()
	wrong := w.startWith(other.disk, w.keepers)
	wrong.staysLocked(300 * time.Millisecond)
	s := wrong.status()
	want := "the data folder is of cluster " + s.Cluster + ", but of 3 Keepers 3 hold shares of cluster " + right.Cluster +
		": is this the right SPIKE_NEXUS_DATA_DIR? Do not restart the Keepers: they open the other one"
	if s.Reason != want || s.Cluster == right.Cluster {
		t.Errorf("status says %q\nwant %q", s.Reason, want)
	}
	told := func() int {
		return len(log.with("level=WARN", "is this the right data folder?", "hold shares of cluster "+right.Cluster))
	}
	w.eventually("the log says it", func() bool { return told() > 0 })
	for _, k := range s.Keepers {
		leftAlone(t, log, &k, api.HoldsForeign, right.Cluster)
	}
	// One that does not answer changes nothing about what the others say.
	w.keepers[1].away()
	if s := wrong.status(); !strings.Contains(s.Reason, "of 3 Keepers 2 hold shares of cluster "+right.Cluster) {
		t.Errorf("with a Keeper away, status says %q", s.Reason)
	}
	w.keepers[1].misbehave(nil)
	wrong.stop()
	if told() != 1 {
		t.Errorf("the log says it %d times", told())
	}

	n = w.start()
	n.opens()
	n.has("p")
}

// leftAlone fails a test unless status and log name a Keeper that is wrong, and tell
// nobody to restart it.
func leftAlone(t *testing.T, log *journal, k *api.KeeperStatus, holds, word string) {
	t.Helper()
	const leave = "do not restart it while Nexus is not open"
	if k.Holds != holds || !strings.Contains(k.Detail, leave) || !strings.Contains(k.Detail, word) {
		t.Errorf("Keeper %d: %+v", k.Index, k)
	}
	if strings.Contains(k.Detail, "filled again") && !strings.Contains(k.Detail, "not be filled again") {
		t.Errorf("Keeper %d is told to be filled again: %q", k.Index, k.Detail)
	}
	if len(log.with("level=WARN", k.URL, "holds="+holds, leave)) == 0 || len(log.with("and it is filled again")) > 0 {
		t.Errorf("the log about Keeper %d: %q", k.Index, log.with(k.URL))
	}
}

// TestNoRestartWhileLocked: whatever seems wrong with a Keeper's share, a restart is
// named as the cure only once Nexus is open and refills it.
func TestNoRestartWhileLocked(t *testing.T) {
	for name, want := range map[string]struct{ holds, word string }{
		"foreign":       {api.HoldsForeign, "a share of cluster"},
		"stale":         {api.HoldsStale, "the outdated root key"},
		"one bit wrong": {api.HoldsCorrupt, "does not match the digest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 3, 2)
			n := w.start()
			n.init()
			paper, err := n.manager.Recover(t.Context(), as(role.Recover))
			if err != nil {
				t.Fatal(err)
			}
			n.stop()
			for i := range 2 {
				faults(w)[name](w.keepers[i], i)
			}
			w.keepers[2].away()
			log := w.journal()
			n = w.start()
			n.staysLocked(300 * time.Millisecond)
			for _, k := range n.status().Keepers[:2] {
				leftAlone(t, log, &k, want.holds, want.word)
			}
			// People bring the key: now a restart is the cure.
			for i := range 2 {
				if _, err := n.feed(i+1, paper.Shards[i+1], true); err != nil {
					t.Fatal(err)
				}
			}
			n.opens()
			const cure = "; restart that Keeper, and it is filled again"
			for _, k := range n.status().Keepers[:2] {
				if k.Holds != want.holds || !strings.HasSuffix(k.Detail, cure) || len(log.with("level=WARN", k.URL, cure)) == 0 {
					t.Errorf("once open: %+v, and the log %q", k, log.with(k.URL))
				}
			}
			for i := range 2 {
				w.keepers[i].down()
				w.keepers[i].up()
			}
			w.eventually("both are filled", func() bool { return *n.status().Spare == 0 })
		})
	}
}
