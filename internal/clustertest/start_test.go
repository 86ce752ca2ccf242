package clustertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var members = []string{"identity", "keeper-1", "keeper-2", "keeper-3", "nexus"}

func wantText(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("this does not say %q:\n%s", part, got)
		}
	}
}

// TestFreshClone is the first hour of someone who tries SPIKE out: two commands,
// secrets of the usual kinds, and everything that can be killed, killed.
func TestFreshClone(t *testing.T) {
	t.Parallel()
	for _, u := range users(t) {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			l := clone(t, u).newLocal(t, "")
			list := samples(t, l.checkout.dir)
			started := l.first(t, 0)
			wantText(t, started.Stdout, "demo/hello", "spike operator status", l.dir+"/data", l.dir+"/log")
			for _, member := range members {
				wantText(t, started.Stdout, "pid "+strconv.Itoa(l.pid(t, member)))
			}
			for _, s := range list {
				l.spike(t, started, "secret", "put", s.path, s.key+"=@"+s.file)
			}
			check := func(r Result) {
				t.Helper()
				for _, s := range list {
					if got := l.spike(t, r, "secret", "get", s.path, s.key); got != s.content {
						t.Errorf("%s did not come back byte for byte", s.path)
					}
				}
			}
			check(started)
			l.private(t)

			l.kill(t, "nexus")
			again := l.start(t, 0)
			wantText(t, again.Stdout, "Started what was missing: nexus", "Read the secret demo/hello, which was there")
			check(again)

			l.kill(t, "nexus")
			l.kill(t, "keeper-2")
			check(l.start(t, 0))

			before := l.processes(t)
			twice := l.start(t, 0)
			wantText(t, twice.Stdout, "already runs")
			if after := l.processes(t); !slices.Equal(before, after) {
				t.Errorf("a second start changed the processes %v to %v", before, after)
			}
			check(twice)

			stopped := l.start(t, 0, "--stop")
			wantText(t, stopped.Stdout, "stopped  nexus", "stopped  keeper-3", "stopped  identity")
			if left := l.processes(t); len(left) > 0 {
				t.Errorf("a stop left the processes %v", left)
			}
			wantText(t, l.start(t, 0, "--stop").Stdout, "Nothing of the cluster")

			began := time.Now()
			back := l.start(t, 0)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("a start of what is built took %s", took)
			}
			wantText(t, back.Stdout, "Feeding in the recovery shards", "every secret")
			check(back)
		})
	}
}

// private checks that what only the owner may read is so.
func (l *local) private(t *testing.T) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{
		"data": 0o700, "log": 0o700, "recover": 0o700, "recover/shard-1.txt": 0o600, "data/spike.db": 0o600,
	} {
		info, err := os.Stat(filepath.Join(l.dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s has the mode %o", name, info.Mode().Perm())
		}
	}
}

// TestStartRefuses has what can be in a start's way. None of it may leave anything
// running.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	c := clone(t, self(t))

	t.Run("port taken", func(t *testing.T) {
		l := c.newLocal(t, "-port")
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", l.port+2))
		if err != nil {
			t.Fatal(err)
		}
		r := l.first(t, 1)
		wantText(t, r.Stderr, fmt.Sprintf("Port %d", l.port+2), "keeper-2", "--port")
		must(t, listener.Close())
		l.empty(t)
		l.first(t, 0)
		l.start(t, 0, "--stop")
		listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", l.port))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { must(t, listener.Close()) }()
		wantText(t, l.start(t, 1).Stderr, "nexus", "SPIKE_LOCAL_DIR")
		wantText(t, l.start(t, 1, "--port", "21000").Stderr, "keeps them")
		l.empty(t)
	})

	t.Run("leftover process", func(t *testing.T) {
		l := c.newLocal(t, "-leftover")
		l.first(t, 0)
		pid := l.pid(t, "nexus")
		must(t, os.Remove(filepath.Join(l.dir, "run", "nexus.pid")))
		wantText(t, l.start(t, 1).Stderr, "nexus", strconv.Itoa(pid), "--stop")
		wantText(t, l.start(t, 0, "--stop").Stdout, strconv.Itoa(pid))
		l.empty(t)
	})

	t.Run("another's pid", func(t *testing.T) {
		l := c.newLocal(t, "-pid")
		l.first(t, 0)
		l.start(t, 0, "--stop")
		sleeper := exec.CommandContext(t.Context(), "sleep", "600")
		must(t, sleeper.Start())
		defer func() {
			must(t, sleeper.Process.Kill())
			_ = sleeper.Wait() // it was killed
		}()
		for _, member := range members {
			file := filepath.Join(l.dir, "run", member+".pid")
			must(t, os.WriteFile(file, fmt.Appendln(nil, sleeper.Process.Pid), 0o644))
		}
		wantText(t, l.start(t, 0, "--stop").Stdout, "Nothing of the cluster")
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", sleeper.Process.Pid)); err != nil || !strings.Contains(exe, "sleep") {
			t.Errorf("somebody else's process was ended: %v", err)
		}
	})

	t.Run("Nexus cannot start", func(t *testing.T) {
		l := c.newLocal(t, "-broken")
		must(t, os.MkdirAll(filepath.Join(l.dir, "data"), 0o700))
		must(t, os.WriteFile(filepath.Join(l.dir, "data", "spike.db"), []byte(strings.Repeat("not a database ", 999)), 0o600))
		r := l.first(t, 1)
		wantText(t, r.Stderr, "nexus.log", "spike.db", "ended again")
		l.empty(t)
	})

	t.Run("no recovery shards", func(t *testing.T) {
		l := c.newLocal(t, "-shards")
		l.first(t, 0)
		l.start(t, 0, "--stop")
		away := filepath.Join(t.TempDir(), "recover")
		must(t, os.Rename(filepath.Join(l.dir, "recover"), away))
		r := l.start(t, 1)
		wantText(t, r.Stderr, "locked", "spike operator restore")
		l.spike(t, r, "operator", "restore", "--file", filepath.Join(away, "shard-1.txt"), "--file", filepath.Join(away, "shard-3.txt"))
		wantText(t, l.spike(t, r, "secret", "get", "demo/hello", "greeting"), "Hello")
	})

	t.Run("folder name too long", func(t *testing.T) {
		l := c.newLocal(t, "-"+strings.Repeat("long", 30))
		wantText(t, l.first(t, 1).Stderr, "107", "SPIKE_LOCAL_DIR")
	})

	t.Run("no Go", func(t *testing.T) {
		without := *c
		without.path = toolsWithoutGo(t)
		l := without.newLocal(t, "-nogo")
		wantText(t, l.first(t, 1).Stderr, "Go is not installed", "go.dev/dl")
		l.empty(t)
	})

	t.Run("old Go", func(t *testing.T) {
		old := *c
		old.path = toolsWithoutGo(t)
		script := "#!/bin/sh\nif [ -e go.work ]; then echo 'go: errors parsing go.work' >&2; exit 1; fi\necho go1.19.8\n"
		must(t, os.WriteFile(filepath.Join(old.path, "go"), []byte(script), 0o755))
		l := old.newLocal(t, "-oldgo")
		wantText(t, l.first(t, 1).Stderr, "Go is too old", "go1.19.8", "1.26")
		l.empty(t)
	})

	t.Run("wrong usage", func(t *testing.T) {
		l := c.newLocal(t, "-usage")
		wantText(t, l.start(t, 1, "--port", "none").Stderr, "--port")
		wantText(t, l.start(t, 1, "--entries", "/no/such").Stderr, "--entries")
		wantText(t, l.start(t, 1, "--unheard-of").Stderr, "--help")
		wantText(t, l.start(t, 0, "--help").Stdout, "--entries", "--port", "--stop")
		wantText(t, l.start(t, 1, "--stop", "--port", "21000").Stderr, "--stop goes alone")
		wantText(t, l.start(t, 0, "--stop").Stdout, "Nothing of the cluster")
		if _, err := os.Stat(l.dir); !os.IsNotExist(err) {
			t.Errorf("a stop of nothing left a folder behind: %v", err)
		}
	})

	t.Run("other ways to call it", func(t *testing.T) {
		l := c.newLocal(t, "-called")
		for name, r := range map[string]Result{
			"sh":     l.run(t.Context(), t, nil, "/bin/sh", "scripts/start", "--help"),
			"CDPATH": l.run(t.Context(), t, []string{"CDPATH=.:/"}, "/bin/bash", "scripts/start", "--help"),
		} {
			if r.Code != 0 || !strings.HasPrefix(r.Stdout, "Runs a SPIKE cluster") {
				t.Errorf("%s: exit code %d\n%s%s", name, r.Code, r.Stdout, r.Stderr)
			}
		}
	})
}

func (l *local) empty(t *testing.T) {
	t.Helper()
	if left := l.processes(t); len(left) > 0 {
		t.Errorf("the processes %v were left", left)
	}
}

// toolsWithoutGo is a folder with every program of this machine's but Go's.
func toolsWithoutGo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"/usr/bin", "/bin"} {
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() == "go" || entry.Name() == "gofmt" {
				continue
			}
			err := os.Symlink(filepath.Join(from, entry.Name()), filepath.Join(dir, entry.Name()))
			if err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestStartsAtOnce lets several starts run into each other.
func TestStartsAtOnce(t *testing.T) {
	t.Parallel()
	l := clone(t, self(t)).newLocal(t, "")
	var wg sync.WaitGroup
	results := make([]Result, 3)
	for i := range results {
		wg.Go(func() {
			results[i] = l.run(t.Context(), t, []string{"SPIKE_LOCAL_DIR=" + l.dir}, "scripts/start", "--port", fmt.Sprint(l.port))
		})
	}
	wg.Wait()
	made := 0
	for _, r := range results {
		if r.Code != 0 {
			t.Errorf("a start failed:\n%s%s", r.Stdout, r.Stderr)
		}
		made += strings.Count(r.Stdout, "Making a new cluster")
	}
	if made != 1 {
		t.Errorf("%d clusters were made", made)
	}
	if n := len(l.processes(t)); n != len(members) {
		t.Errorf("%d processes run", n)
	}
}
