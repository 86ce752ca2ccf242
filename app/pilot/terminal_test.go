package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/shard"
)

// screen collects what a terminal shows.
type screen struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// session is a command that runs on a terminal of its own.
type session struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	seen *screen
	read int // how much of it was waited for
	done chan struct{}
}

func onTerminal(t *testing.T, w *world, args ...string) *session {
	t.Helper()
	return start(t, w, exec.Command("spike", args...))
}

func start(t *testing.T, w *world, cmd *exec.Cmd) *session {
	t.Helper()
	cmd.Env = append(os.Environ(), w.environment()...)
	return startSized(t, cmd, nil)
}

// startSized starts cmd on a terminal that has a size, unless that is nil.
func startSized(t *testing.T, cmd *exec.Cmd, size *pty.Winsize) *session {
	t.Helper()
	s := &session{t: t, cmd: cmd, seen: &screen{}, done: make(chan struct{})}
	tty, err := pty.StartWithSize(s.cmd, size)
	if err != nil {
		t.Fatal(err)
	}
	s.tty = tty
	go func() {
		defer close(s.done)
		// It ends with an error when the command is gone: that is how ptys end.
		_, _ = io.Copy(s.seen, tty)
	}()
	return s
}

// waitFor waits until text is shown, behind what was waited for before.
func (s *session) waitFor(text string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if i := strings.Index(s.seen.String()[s.read:], text); i >= 0 {
			s.read += i + len(text)
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%q never came; there is %q", text, s.seen)
		}
	}
}

func (s *session) answer(question, keys string) {
	s.t.Helper()
	s.waitFor(question)
	s.enter(keys)
}

func (s *session) enter(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// end returns the exit code and what was shown.
func (s *session) end() (int, string) {
	s.t.Helper()
	// A question that nobody answers would be waited for until the test run ends.
	stuck := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
	defer stuck.Stop()
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	<-s.done
	if err := s.tty.Close(); err != nil {
		s.t.Error(err)
	}
	return s.cmd.ProcessState.ExitCode(), s.seen.String()
}

func TestShardAtAHiddenPrompt(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.become(api.StateLocked, "/spike/pilot/role/restore")
	const digits = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"

	s := onTerminal(t, w, "operator", "restore")
	s.waitFor("Recovery shard (not shown): ")
	s.enter("spike:2:oops\x15spike:1:" + digits + "f\x7f\r") // corrected twice
	code, seen := s.end()
	if code != 0 || !strings.Contains(seen, "Shard 1 was accepted: 1 collected, 1 more needed.") {
		t.Errorf("exit code %d: %q", code, seen)
	}
	if strings.Contains(seen, "a1a1") || strings.Contains(seen, "oops") {
		t.Errorf("it was shown: %q", seen)
	}

	// A line of its own says of which cluster it is, and a slip is found before it is sent.
	v := shards()[3]
	line := string(shard.Line(3, &v, shard.Origin{Cluster: "c-9", KeyID: "k-1"}))
	s = onTerminal(t, w, "operator", "restore")
	s.waitFor("Recovery shard (not shown): ")
	s.enter(strings.Replace(line, "a3a3", "a3a4", 1) + "\r")
	code, seen = s.end()
	if code != 2 || !strings.Contains(seen, "its check does not fit") || !strings.Contains(seen, "Nothing was sent.") || strings.Contains(seen, "a3a3") {
		t.Errorf("exit code %d: %q", code, seen)
	}
	s = onTerminal(t, w, "operator", "restore")
	s.waitFor("Recovery shard (not shown): ")
	s.enter(line + "\r")
	s.waitFor("Shard 3 (from the terminal) is of the cluster c-9, key k-1.")
	code, seen = s.end()
	if code != 1 || !strings.Contains(seen, "It belongs to another cluster.") || strings.Contains(seen, "a3a3") {
		t.Errorf("exit code %d: %q", code, seen)
	}

	// A whole file can be pasted; its head says of which cluster it is.
	s = onTerminal(t, w, "operator", "restore")
	s.waitFor("Recovery shard (not shown): ")
	s.enter("# SPIKE recovery shard 2 of 3\r# cluster:   c-9\r#\r\rspike:2:" + strings.ReplaceAll(digits, "a1", "a2") + "\r")
	code, seen = s.end()
	if code != 1 || !strings.Contains(seen, "It belongs to another cluster.") || strings.Contains(seen, "a2a2") {
		t.Errorf("exit code %d: %q", code, seen)
	}
}

func TestValueAtAHiddenPrompt(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	s := onTerminal(t, w, "secret", "put", "web/db", "user=app", "password=-", "--no-warn")
	s.waitFor("Value of password (not shown): ")
	s.enter("hunterř\x7f2\r")
	s.waitFor("The same again: ")
	s.enter("hunter2\r")
	code, seen := s.end()
	if code != 0 || strings.Contains(seen, "hunter") {
		t.Errorf("exit code %d: %q", code, seen)
	}
	if got := w.stored("web/db"); len(got) != 1 || got[0]["password"] != "hunter2" {
		t.Error("it was not stored as it was typed")
	}

	// On a terminal a newline follows the value, so that the prompt does not.
	code, seen = onTerminal(t, w, "secret", "get", "web/db", "password").end()
	if code != 0 || seen != "hunter2\r\n" {
		t.Errorf("exit code %d: %q", code, seen)
	}
	code, seen = onTerminal(t, w, "operator", "status").end()
	if code != 0 || !strings.Contains(seen, "\x1b[32mopen\x1b[0m") {
		t.Errorf("exit code %d: %q", code, seen)
	}
	t.Setenv("NO_COLOR", "1")
	code, seen = onTerminal(t, w, "operator", "status").end()
	if code != 0 || strings.Contains(seen, "\x1b") {
		t.Errorf("exit code %d: %q", code, seen)
	}
}

// TestValueIsTypedTwice checks that a slip of the finger is noticed, and that
// nobody is asked for ever.
func TestValueIsTypedTwice(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	s := onTerminal(t, w, "secret", "put", "web/db", "password", "pin")
	s.answer("Value of password (not shown): ", "hunter2\r")
	s.answer("The same again: ", "hunter3\r")
	s.answer("The two are not the same.\r\nValue of password (not shown): ", "hunter2\r")
	s.answer("The same again: ", "hunter2\r")
	s.answer("Value of pin (not shown): ", "1234\r")
	s.answer("The same again: ", "1234\r")
	code, seen := s.end()
	if got := w.stored("web/db"); code != 0 || len(got) != 1 || got[0]["password"] != "hunter2" || got[0]["pin"] != "1234" {
		t.Errorf("exit code %d: %q", code, seen)
	}

	s = onTerminal(t, w, "secret", "put", "web/db", "password")
	for range 3 {
		s.answer("Value of password (not shown): ", "hunter2\r")
		s.answer("The same again: ", "hunter3\r")
	}
	code, seen = s.end()
	if code != 2 || !strings.Contains(seen, "not the same, three times.") || len(w.stored("web/db")) != 1 {
		t.Errorf("exit code %d: %q", code, seen)
	}

	s = onTerminal(t, w, "secret", "put", "web/db", "password")
	s.answer("(not shown): ", "\r")
	code, seen = s.end()
	if code != 2 || !strings.Contains(seen, "for an empty value write KEY=") || len(w.stored("web/db")) != 1 {
		t.Errorf("exit code %d: %q", code, seen)
	}
}

// TestPastedLines has a private key pasted where one line was asked for. None of
// it may be left for the shell, which would run it.
func TestPastedLines(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	path, err := exec.LookPath("spike")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, w, exec.Command("sh", "-c", path+` secret put web/tls key; read -r rest; echo "then $rest"`))
	s.answer("(not shown): ", "-----BEGIN PRIVATE KEY-----\r"+strings.Repeat("Y2FuYXJ5\r", 40)+"-----END PRIVATE KEY-----\r")
	s.answer("Error: ", "next\r")
	_, seen := s.end()
	if !strings.Contains(seen, "a value of several lines goes through a file: KEY=@FILE") || !strings.Contains(seen, "then next") ||
		strings.Contains(seen, "Y2FuYXJ5") || len(w.stored("web/tls")) != 0 {
		t.Errorf("%q", seen)
	}
}

// TestLongPaste has a line that is longer than any value can be. None of it may be
// left for the shell either.
func TestLongPaste(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.become(api.StateLocked, "/spike/pilot/role/restore")
	path, err := exec.LookPath("spike")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, w, exec.Command("sh", "-c", path+` operator restore; read -r rest; echo "then $rest"`))
	s.answer("Recovery shard (not shown): ", strings.Repeat("Y2FuYXJ5", 120)+"\r")
	s.answer("Error: ", "next\r")
	_, seen := s.end()
	if !strings.Contains(seen, "then next") || strings.Contains(seen, "Y2FuYXJ5") {
		t.Errorf("%q", seen)
	}
}

// TestNewlineIsAskedAbout has a file of one line, which is asked about, among
// values that are not.
func TestNewlineIsAskedAbout(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	dir := t.TempDir()
	line, note := filepath.Join(dir, "line"), filepath.Join(dir, "note")
	if err := errors.Join(os.WriteFile(line, []byte("hunter2\n"), 0o600), os.WriteFile(note, []byte("a\nb\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct{ keys, want string }{{"y\r", "hunter2"}, {"\r", "hunter2"}, {"no\r", "hunter2\n"}} {
		s := onTerminal(t, w, "secret", "put", "web/db", "password=@"+line, "note=@"+note)
		s.answer("Store it without the newline? [Yes/no] ", "perhaps\r")
		s.answer("perhaps\r\nStore it without the newline? [Yes/no] ", test.keys)
		code, seen := s.end()
		got := w.stored("web/db")
		if code != 0 || len(got) != i+1 || got[i]["password"] != test.want || got[i]["note"] != "a\nb\n" {
			t.Errorf("%q: exit code %d: %q", test.keys, code, seen)
		}
	}
	for name, keys := range map[string]string{"ctrl-C": "\x03", "ctrl-D": "\x04"} {
		s := onTerminal(t, w, "secret", "put", "web/db", "password=@"+line)
		s.answer("[Yes/no] ", keys)
		code, seen := s.end()
		if code == 0 || !strings.Contains(seen, "Interrupted.") {
			t.Errorf("%s: exit code %d: %q", name, code, seen)
		}
	}
	if got := w.stored("web/db"); len(got) != 3 {
		t.Errorf("%d versions were written", len(got))
	}
}

// TestDestroyAsks checks that it says what it will do, and takes a yes alone for
// one.
func TestDestroyAsks(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for _, value := range []string{"first", "second"} {
		if code, seen := onTerminal(t, w, "secret", "put", "web/db", "k="+value).end(); code != 0 {
			t.Fatal(seen)
		}
	}
	destroy := func(keys string) (int, string) {
		s := onTerminal(t, w, "secret", "destroy", "web/db", "--versions", "1,2,9")
		s.answer("Type yes to go on [yes/No] ", keys)
		return s.end()
	}
	for _, keys := range []string{"\r", "y\r", "no\r", "yes please\r", "\x03", "\x04"} {
		if code, seen := destroy(keys); code != 1 || strings.Contains(seen, "Destroyed") {
			t.Errorf("%q: exit code %d: %q", keys, code, seen)
		}
	}
	if got := w.stored("web/db"); len(got) != 2 || got[0]["k"] != "first" || got[1]["k"] != "second" {
		t.Error("something was changed")
	}
	code, seen := destroy("yes\r")
	want := strings.ReplaceAll(`Version 9 of web/db was never written: passed over.
This destroys versions 1 and 2 of web/db. It cannot be undone.
VERSION  STATE  WRITTEN               DELETED
1        live   2026-01-02T03:01:00Z
2        live   2026-01-02T03:02:00Z
Version 2 is the current one.
Type yes to go on [yes/No] yes
Destroyed versions 1 and 2 of web/db.
Reads of web/db without a version now find nothing.
`, "\n", "\r\n")
	if code != 0 || seen != want {
		t.Errorf("exit code %d: %s", code, seen)
	}
	if got := w.stored("web/db"); got[0] != nil || got[1] != nil {
		t.Error("the values are still there")
	}
}

// TestPolicyDeleteAsks checks that it shows what it will delete, and takes a yes alone
// for one.
func TestPolicyDeleteAsks(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	code, seen := onTerminal(t, w, "policy", "create", "web-db", "--spiffeid", `^spiffe://spike\.ist/web$`, "--path", "^web/db$", "--permission", "read").end()
	if code != 0 {
		t.Fatal(seen)
	}
	there := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.policies["web-db"] != nil
	}
	remove := func(keys string) (int, string) {
		s := onTerminal(t, w, "policy", "delete", "web-db")
		s.answer("Type yes to go on [yes/No] ", keys)
		return s.end()
	}
	for _, keys := range []string{"\r", "y\r", "no\r", "yes please\r", "\x03", "\x04"} {
		if code, seen := remove(keys); code != 1 || strings.Contains(seen, "Deleted") || !there() {
			t.Errorf("%q: exit code %d: %q", keys, code, seen)
		}
	}
	code, seen = remove("yes\r")
	want := strings.ReplaceAll(`Name:         web-db
SPIFFE IDs:   ^spiffe://spike\.ist/web$
Paths:        ^web/db$
Permissions:  read
Created:      2026-01-02T03:01:00Z
Updated:      2026-01-02T03:01:00Z
Type yes to go on [yes/No] yes
Deleted the policy web-db.
`, "\n", "\r\n")
	if code != 0 || seen != want || there() {
		t.Errorf("exit code %d: %s", code, seen)
	}
	// Nobody is asked about what is not there.
	if code, seen := onTerminal(t, w, "policy", "delete", "web-db").end(); code != 3 || strings.Contains(seen, "Type yes") {
		t.Errorf("exit code %d: %s", code, seen)
	}
}

// TestTablesFit has the state of the Keepers on a terminal that is too narrow for
// its table.
func TestTablesFit(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	s := start(t, w, exec.Command("sh", "-c", "stty cols 40; exec spike operator status"))
	code, seen := s.end()
	if code != 0 || !strings.Contains(seen, "KEEPER:     1\r\n") || !strings.Contains(seen, "DETAIL:     connection refused\r\n") {
		t.Errorf("exit code %d: %s", code, seen)
	}
}

// TestPromptIsLeft checks that a prompt can be left by its keys and by signals,
// and that the terminal shows again what is typed.
func TestPromptIsLeft(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for name, leave := range map[string]func(*session){
		"ctrl-C":  func(s *session) { s.enter("hunter2\x03") },
		"ctrl-D":  func(s *session) { s.enter("hunter2\x04") },
		"SIGTERM": func(s *session) { _ = s.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(s *session) { _ = s.cmd.Process.Signal(os.Interrupt) },
	} {
		t.Run(name, func(t *testing.T) {
			s := onTerminal(t, w, "secret", "put", "web/db", "password=-")
			s.waitFor("(not shown): ")
			leave(s)
			s.waitFor("Error: ")
			code, seen := s.end()
			if code == 0 || strings.Contains(seen, "hunter2") {
				t.Errorf("exit code %d: %q", code, seen)
			}
		})
	}
	if len(w.stored("web/db")) != 0 {
		t.Error("something was written")
	}
}
