package clustertest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// entriesOf is a local cluster with two lists of the user's.
type entriesOf struct {
	*local
	one, two string // one has an entry, and two has two
}

func newEntries(t *testing.T) *entriesOf {
	t.Helper()
	l := clone(t, self(t)).newLocal(t, "")
	e := &entriesOf{local: l, one: filepath.Join(l.checkout.dir, "one.yaml"), two: filepath.Join(l.checkout.dir, "two.yaml")}
	// That they name no trust domain is in order: the cluster's own list does.
	must(t,
		os.WriteFile(e.one, []byte("entries:\n  - {id: /mine, path: /usr/bin/true}\n"), 0o644),
		os.WriteFile(e.two, []byte("entries:\n  - {id: /x, path: /usr/bin/true}\n  - {id: /y, path: /usr/bin/true}\n"), 0o644))
	return e
}

// force wants the provider that runs to have so many entries of the user's, by what
// it said when it began.
func (e *entriesOf) force(t *testing.T, when string, want int) {
	t.Helper()
	const own = 5
	begun := regexp.MustCompile(`identity provider listening.* entries=(\d+)`).
		FindAllStringSubmatch(read(filepath.Join(e.dir, "log", "identity.log")), -1)
	if len(begun) == 0 || begun[len(begun)-1][1] != fmt.Sprint(own+want) {
		t.Errorf("%s: the provider says %q, and should have %d entries", when, begun, own+want)
	}
}

// killAll ends the cluster as a power cut would, and waits until it is gone.
func (e *entriesOf) killAll(t *testing.T) {
	t.Helper()
	for _, member := range members {
		e.kill(t, member)
	}
	for len(e.processes(t)) > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// TestOwnEntries gives an identity to a program of the user's, and takes up another
// list while the cluster runs. A list holds until there is another one or all of the
// cluster has ended, and none comes back that was taken away.
func TestOwnEntries(t *testing.T) {
	t.Parallel()
	e := newEntries(t)
	noted := filepath.Join(e.dir, "run", "entries")
	e.start(t, 0, "--port", fmt.Sprint(e.port), "--entries", "one.yaml")
	e.force(t, "at first", 1)

	e.kill(t, "identity")
	e.start(t, 0)
	e.force(t, "after the provider was killed", 1)

	// As a start leaves it that is killed before it could note them.
	must(t, os.Remove(noted))
	e.start(t, 0)
	e.kill(t, "identity")
	e.start(t, 0)
	e.force(t, "after a note was lost", 1)

	nexus := e.pid(t, "nexus")
	e.start(t, 0, "--entries", e.two)
	e.force(t, "with another list", 2)
	if e.pid(t, "nexus") != nexus {
		t.Error("Nexus was started anew for it")
	}

	// A provider that never answers has put nothing in force; what it was to replace
	// is over, too.
	e.kill(t, "identity")
	socket := filepath.Join(e.dir, "run", "identity.sock")
	must(t, os.Remove(socket), os.WriteFile(socket, nil, 0o600))
	wantText(t, e.start(t, 1, "--entries", e.one).Stderr, "is not a socket")
	if text := read(noted); text != "" {
		t.Errorf("noted without an answer: %s", text)
	}
	must(t, os.Remove(socket))
	e.start(t, 0)
	e.force(t, "after a list that did not come in force", 0)
	e.start(t, 0, "--entries", e.two)
	e.force(t, "with the list again", 2)

	e.killAll(t)
	wantText(t, e.start(t, 0).Stdout, "have ended with it", e.two)
	e.force(t, "after all was killed", 0)
	e.kill(t, "identity")
	if out := e.start(t, 0).Stdout; strings.Contains(out, e.two) {
		t.Errorf("entries that have ended are still spoken of:\n%s", out)
	}
	e.force(t, "later", 0)

	e.start(t, 0, "--entries", e.one)
	e.start(t, 0, "--stop")
	if out := e.start(t, 0).Stdout; strings.Contains(out, e.one) {
		t.Errorf("entries that were stopped are still spoken of:\n%s", out)
	}
	e.force(t, "after a stop", 0)
}

// TestBadEntries has lists that the provider would refuse. None of them may touch what
// runs.
func TestBadEntries(t *testing.T) {
	t.Parallel()
	e := newEntries(t)
	bad := filepath.Join(e.checkout.dir, "bad.yaml")
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		must(t, os.WriteFile(name, []byte(text), mode), os.Chmod(name, mode))
	}
	good := read(e.one)
	cases := []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"an unknown key", "entries:\n  - {id: /mine, paht: /usr/bin/true}\n", 0o644, bad + ":2: unknown key \"paht\""},
		{"an entry of the cluster", "entries:\n  - {id: /spike/nexus, path: .spike/bin/nexus}\n", 0o644, filepath.Join(e.dir, "config", "local.yaml") + ":"},
		{"another trust domain", "trust_domain: other.org\nentries: []\n", 0o644, "one provider serves one trust domain"},
		{"a file that everybody may write", good, 0o666, "chmod o-w"},
		{"the same file twice", good, 0o644, "named twice"},
	}

	put(bad, cases[0].text, cases[0].mode)
	wantText(t, e.start(t, 1, "--port", fmt.Sprint(e.port), "--entries", bad).Stderr, cases[0].want, "Nothing was changed")
	e.empty(t)

	e.start(t, 0, "--port", fmt.Sprint(e.port), "--entries", e.one)
	before := e.state(t)
	for _, tc := range cases {
		put(bad, tc.text, tc.mode)
		args := []string{"--entries", e.one, "--entries", bad}
		if tc.want == "named twice" {
			args = append(args, "--entries", bad)
		}
		wantText(t, e.start(t, 1, args...).Stderr, tc.want, "Nothing was changed")
		if after := e.state(t); after != before {
			t.Fatalf("%s: there was\n%s\nand now there is\n%s", tc.name, before, after)
		}
	}

	// An edit that the provider passes over is told whoever asks for it again.
	put(e.one, cases[0].text, 0o644)
	wantText(t, e.start(t, 1, "--entries", e.one).Stderr, "paht")
	// And a provider that has to be started again is not started with other entries.
	e.kill(t, "identity")
	wantText(t, e.start(t, 1).Stderr, "paht", "was started with", "--stop")
	put(e.one, good, 0o644)
	e.start(t, 0)
	e.force(t, "after it was put right", 1)
}

// state is what runs, with which arguments, and which files a start works with.
func (e *entriesOf) state(t *testing.T) string {
	t.Helper()
	var lines []string
	for _, pid := range e.processes(t) {
		lines = append(lines, pid+" "+strings.ReplaceAll(read(filepath.Join("/proc", pid, "cmdline")), "\x00", " "))
	}
	for _, folder := range []string{"bin", "config", "run"} {
		entries, err := os.ReadDir(filepath.Join(e.dir, folder))
		must(t, err)
		for _, entry := range entries {
			info, err := entry.Info()
			must(t, err)
			line := filepath.Join(folder, entry.Name())
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				line += fmt.Sprint(" inode ", stat.Ino)
			}
			if info.Mode().IsRegular() && folder != "bin" {
				line += " " + read(filepath.Join(e.dir, folder, entry.Name()))
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
