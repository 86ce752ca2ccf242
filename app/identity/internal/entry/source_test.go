package entry

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const valid = "trust_domain: spike.ist\nentries: []\n"

func TestFilesThatOthersMayWrite(t *testing.T) {
	source, names := files(t, valid)
	load := func(want string) {
		t.Helper()
		_, err := source.Load()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error is %v, wanted %q", err, want)
		}
	}
	chmod := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	file, dir := names[0], filepath.Dir(names[0])

	chmod(file, 0o666)
	load("every user may write this file")
	// A user's own group is common with a umask of 002.
	chmod(file, 0o664)
	load("")
	chmod(dir, 0o777)
	load("every user may write its folder")
	// As in /tmp, where nobody can take another's file away.
	chmod(dir, 0o777|os.ModeSticky)
	load("")
	chmod(dir, 0o755)

	// The same by way of a link.
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	source = NewSource([]string{link}, me)
	load("")
	chmod(dir, 0o777)
	load("every user may write its folder")
}

// Whoever owns a file, its folder or a link to it decides what is read.
func TestFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		return // Only root can make files of others.
	}
	const other = 54321
	source, names := files(t, valid)
	file, dir := names[0], filepath.Dir(names[0])
	elsewhere := t.TempDir()
	link, second := filepath.Join(elsewhere, "link.yaml"), filepath.Join(elsewhere, "second.yaml")
	for name, target := range map[string]string{link: second, second: file} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	linked := NewSource([]string{link}, me)

	for _, tc := range []struct {
		foreign string
		// What is said of the file by its own name, and by the links.
		want, wantLinked string
	}{
		{"", "", ""},
		{file, file + ": it belongs to uid 54321", link + ": it belongs to uid 54321"},
		{dir, "its folder " + dir + " belongs to uid 54321", link + ": its folder " + dir + " belongs to uid 54321"},
		{elsewhere, "", "its folder " + elsewhere + " belongs to uid 54321"},
		{link, "", "the symbolic link " + link + " belongs to uid 54321"},
		{second, "", "the symbolic link " + second + " belongs to uid 54321"},
	} {
		if tc.foreign != "" {
			if err := os.Lchown(tc.foreign, other, -1); err != nil {
				t.Fatal(err)
			}
		}
		for _, look := range []struct {
			source *Source
			want   string
		}{{source, tc.want}, {linked, tc.wantLinked}} {
			_, err := look.source.Load()
			if look.want == "" && err != nil || look.want != "" && (err == nil || !strings.Contains(err.Error(), look.want)) {
				t.Errorf("when %q is another's: error is %v, wanted %q", tc.foreign, err, look.want)
			}
		}
		if tc.foreign != "" {
			if err := os.Lchown(tc.foreign, 0, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A file that was handed to another user is an edit that cannot be used.
func TestWatchedFileOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		return // Only root can give files away.
	}
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.put(t, valid+"ttl: 5m\n")
		w.next(t)
		if err := os.Chown(w.file, 54321, -1); err != nil {
			t.Fatal(err)
		}
		w.put(t, valid+"ttl: 6m\n")
		time.Sleep(time.Minute)
		if n := w.errors(); n != 1 || len(w.sets) != 0 {
			t.Errorf("%d errors, and %d sets taken from it", n, len(w.sets))
		}
	})
}

func TestLinksInFolders(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "entries.yaml"), []byte(valid), 0o644); err != nil {
		t.Fatal(err)
	}
	// As ConfigMaps are mounted: a link to a file below a link to a folder. The way
	// back up leads from where that folder is.
	for name, target := range map[string]string{"c/data": "../a/b", "c/entries.yaml": "data/../entries.yaml", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewSource([]string{filepath.Join(dir, "c", "entries.yaml")}, me).Load(); err != nil {
		t.Error(err)
	}
	t.Chdir(dir)
	if _, err := NewSource([]string{"a/entries.yaml"}, me).Load(); err != nil {
		t.Error(err)
	}
	if _, err := NewSource([]string{"loop"}, me).Load(); err == nil || !strings.Contains(err.Error(), "symbolic links") {
		t.Errorf("error is %v", err)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxFileSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good")
	if err := os.WriteFile(good, []byte(valid), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		files []string
		want  string
	}{
		{[]string{fifo}, "not a regular file"},
		{[]string{dir}, "not a regular file"},
		{[]string{large}, "larger than"},
		{[]string{filepath.Join(dir, "none")}, "no such file"},
		{[]string{good, dir + "/./good"}, "named twice"},
	} {
		_, err := NewSource(tc.files, me).Load()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: error is %v, wanted %q", tc.files, err, tc.want)
		}
	}
}

const interval = time.Second

// watched is a source under watch and what came of it.
type watched struct {
	file string
	sets chan *Set

	mu  sync.Mutex
	log strings.Builder
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *watched) errors() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), "level=ERROR")
}

func (w *watched) put(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(w.file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *watched) next(t *testing.T) *Set {
	t.Helper()
	select {
	case set := <-w.sets:
		return set
	case <-time.After(10 * interval):
		t.Fatal("the edit was not seen")
		return nil
	}
}

func watch(t *testing.T) *watched {
	t.Helper()
	source, names := files(t, valid)
	if _, err := source.Load(); err != nil {
		t.Fatal(err)
	}
	w := &watched{file: names[0], sets: make(chan *Set, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		source.Watch(ctx, interval, slog.New(slog.NewTextHandler(w, nil)), func(s *Set) { w.sets <- s })
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return w
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.put(t, valid+"ttl: 5m\n")
		if set := w.next(t); set.TTL != 5*time.Minute {
			t.Errorf("got %s", set)
		}

		// A bad edit is told once, however often it is looked at.
		w.put(t, "entries: nonsense\n")
		time.Sleep(time.Minute)
		if n := w.errors(); n != 1 {
			t.Errorf("%d errors for one bad edit", n)
		}

		// Replaced as editors do it, by a file of the same size.
		if err := os.WriteFile(w.file+"~", []byte(valid+"ttl: 6m\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(w.file+"~", w.file); err != nil {
			t.Fatal(err)
		}
		if set := w.next(t); set.TTL != 6*time.Minute {
			t.Errorf("got %s", set)
		}

		if err := os.Remove(w.file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := w.errors(); n != 2 {
			t.Errorf("%d errors after the file was removed", n)
		}
		w.put(t, valid)
		if set := w.next(t); set.TTL != time.Hour {
			t.Errorf("got %s", set)
		}

		// Made open to all: no longer to be trusted.
		if err := os.Chmod(w.file, 0o666); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := w.errors(); n != 3 {
			t.Errorf("%d errors after the file was opened to all", n)
		}
		if len(w.sets) != 0 {
			t.Errorf("got %s without an edit", <-w.sets)
		}
	})
}

// A file that is being written must not count half: every step of this one is
// valid, and takes identities away.
func TestHalfWrittenFileDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		content := "trust_domain: spike.ist\nentries:\n"
		for _, id := range []string{"/a", "/b", "/c", "/d", "/e", "/f"} {
			content += "  - {id: " + id + ", uid: 1}\n"
			w.put(t, content)
			// No two looks see the same.
			time.Sleep(interval * 7 / 10)
		}
		if set := w.next(t); len(set.Entries) != 6 {
			t.Errorf("got %s", set)
		}
	})
}
