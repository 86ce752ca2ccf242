package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/store/storetest"
)

// TestFailedFlush lets the n-th flush of a store's life fail, for every n, and
// either that one alone or every one after it too. Nothing whose flush failed
// is answered with nil, nothing that was answered is missing afterwards, and
// after a failure there is no further commit.
func TestFailedFlush(t *testing.T) {
	if !isolated(t, &syscall.SysProcAttr{}) {
		return
	}
	flushes, err := storetest.InterceptFlushes()
	if err != nil {
		t.Fatal(err)
	}
	for _, persistent := range []bool{false, true} {
		reached := map[string]int{}
		for n := 1; ; n++ {
			life := &flushLife{
				failAt: n, persistent: persistent,
				folder: filepath.Join(t.TempDir(), "store"), unsure: make(map[string]bool),
			}
			flushes.Decide(life.decide)
			life.live(t)
			flushes.Decide(nil)
			life.after(t)
			if t.Failed() {
				t.Fatalf("persistent %v, flush %d, during %s", persistent, n, life.failure())
			}
			if count, _ := life.counts(); count < n {
				break
			}
			if failure := life.failure(); failure != "" {
				reached[strings.Fields(failure)[0]]++
			}
		}
		t.Logf("persistent %v: flushes that failed, by what they were for: %v", persistent, reached)
		// A store that stopped flushing would pass everything above.
		if reached["open"] < 3 || reached["commit"] < flushCommits+1+2 || reached["reopen"] < 1 {
			t.Errorf("that is too few")
		}
	}
}

const (
	flushCommits = 5
	flushRow     = 1100 << 10 // so that a checkpoint comes within those
)

// flushLife opens a new store, commits, closes, opens and commits again.
type flushLife struct {
	folder     string
	failAt     int
	persistent bool
	acked      uint64

	mu       sync.Mutex
	doing    string // what is under way
	count    int
	failedIn string          // what was under way at the first failure
	unsure   map[string]bool // folders whose last flush failed
	// logFlushed says that the folder was flushed since it has a log.
	logFlushed bool
}

func (l *flushLife) decide(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := os.Stat(path)
	isFolder := err == nil && info.IsDir()
	// SQLite flushes the folder with the first flush of each log that it makes,
	// and passes over a failure. After it, or before the first commit, comes a
	// flush by Open that does count.
	if isFolder && strings.HasPrefix(l.doing, "commit") {
		return nil
	}
	l.count++
	if l.count == l.failAt || l.persistent && l.count > l.failAt {
		if isFolder {
			l.unsure[path] = true
		} else if l.failedIn == "" {
			l.failedIn = l.doing
		}
		return syscall.EIO
	}
	delete(l.unsure, path)
	if _, err := os.Stat(filepath.Join(path, "spike.db-wal")); err == nil {
		l.logFlushed = true
	}
	return nil
}

func (l *flushLife) begin(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing, l.logFlushed = what, false
}

// failure is what was under way when a flush failed. Of a folder, it is enough
// that the last one did not.
func (l *flushLife) failure() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failedIn == "" && len(l.unsure) > 0 {
		l.failedIn = l.doing
	}
	return l.failedIn
}

func (l *flushLife) counts() (flushes int, logFlushed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.logFlushed
}

func (l *flushLife) live(t *testing.T) {
	t.Helper()
	for _, what := range []string{"open", "reopen"} {
		l.begin(what)
		s, err := sqlite.Open(t.Context(), sqlite.Config{Folder: l.folder})
		if failure := l.failure(); (err != nil) != (failure == what) {
			t.Errorf("Open = %v, and the flush that failed was in %q", err, failure)
		}
		if err != nil {
			return
		}
		if _, flushed := l.counts(); !flushed {
			t.Errorf("%s does not make the log's name durable", what)
		}
		commits := flushCommits
		if what == "reopen" {
			commits = 1
		}
		for range commits {
			l.commit(t, s)
		}
		if l.failure() != "" {
			// What the failure left is for the next start to judge.
			before := picture(t, l.folder)
			l.begin("close")
			closeStore(t, s)
			samePicture(t, l.folder, before)
			return
		}
		l.begin("close")
		closeStore(t, s)
		if l.failure() != "" {
			return
		}
	}
}

func (l *flushLife) commit(t *testing.T, s *sqlite.Store) {
	t.Helper()
	what := fmt.Sprintf("commit %d", l.acked+1)
	before := l.failure()
	l.begin(what)
	err := s.Commit(t.Context(), next(l.acked, flushRow))
	failure := l.failure()
	switch {
	case err == nil && failure == "":
		l.acked++
	case err == nil:
		t.Errorf("%s is answered with nil, after a flush failed in %s", what, failure)
	case before != "" && !errors.Is(err, store.ErrFailed):
		t.Errorf("%s after a failure = %v, want ErrFailed", what, err)
	case failure == "":
		t.Errorf("%s = %v, and no flush has failed", what, err)
	}
}

// after opens what is left. The one commit whose flush failed may be there.
func (l *flushLife) after(t *testing.T) {
	t.Helper()
	s := open(t, l.folder)
	got, err := loaded(s)
	if err != nil || got != l.acked && (got != l.acked+1 || !strings.HasPrefix(l.failure(), "commit")) {
		t.Errorf("the store is at %d (%v) after %d were answered", got, err, l.acked)
	}
	commit(t, s, next(got, 100))
	closeStore(t, s)
}
