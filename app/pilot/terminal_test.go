package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/spiffe/spike/internal/api"
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
	done chan struct{}
}

func onTerminal(t *testing.T, w *world, args ...string) *session {
	t.Helper()
	s := &session{t: t, cmd: exec.Command("spike", args...), seen: &screen{}, done: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), w.environment()...)
	tty, err := pty.Start(s.cmd)
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

func (s *session) waitFor(text string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.seen.String(), text); {
		if time.Now().After(end) {
			s.t.Fatalf("%q never came; there is %q", text, s.seen)
		}
		time.Sleep(5 * time.Millisecond)
	}
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
	s := onTerminal(t, w, "secret", "put", "web/db", "user=app", "password=-")
	s.waitFor("Value of password (not shown): ")
	s.enter("hunterř\x7f2\r")
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
