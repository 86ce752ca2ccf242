package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// shell is an interactive shell that has the script for its completion. Its spike asks
// the real one when it completes; otherwise it shows its arguments.
type shell struct {
	*session
	name string
}

// prompt is what each of the shells shows.
const prompt = "ready>"

// newShell starts a shell in a folder. What is in before, it runs before it loads the
// script. Where its AS_IS is "-as-is", completion gets no longer than people do.
func newShell(t *testing.T, w *world, name, folder string, before string) *shell {
	t.Helper()
	real, err := exec.LookPath("spike")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	write(t, filepath.Join(home, "bin", "spike"), "#!/bin/sh\n"+
		`case $1 in __complete | completion) exec "`+real+`$AS_IS" "$@" ;; esac`+"\nprintf 'ran'; printf '<%s>' \"$@\"; echo\n")
	lines := map[string][]string{
		"bash": {`PS1="` + prompt + ` "`, "source <(spike completion bash)"},
		"fish": {"function fish_prompt; echo -n '" + prompt + " '; end", "set fish_greeting", "set fish_autosuggestion_enabled 0", "spike completion fish | source"},
		"zsh":  {`PS1="` + prompt + ` "`, "autoload -U compinit; compinit -D -u", "source <(spike completion zsh)"},
	}[name]
	start := filepath.Join(home, "start")
	if name == "zsh" {
		start = filepath.Join(home, ".zshrc")
	}
	write(t, start, strings.Join(append([]string{before}, lines...), "\n")+"\n")
	cmd := exec.Command(name, map[string][]string{
		"bash": {"--noprofile", "--rcfile", start, "-i"},
		"fish": {"--no-config", "-i", "-C", "source " + start},
		"zsh":  {"-d", "-i"}, // only what is in ZDOTDIR
	}[name]...)
	cmd.Dir = folder
	cmd.Env = append(w.environment(), "PATH="+filepath.Join(home, "bin")+":"+os.Getenv("PATH"), "HOME="+home,
		"ZDOTDIR="+home, "TERM=xterm", "LC_ALL=C.UTF-8", "GOCOVERDIR="+t.TempDir())
	s := &shell{startSized(t, cmd, &pty.Winsize{Rows: 50, Cols: 150}), name}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // where a test fails; it has ended otherwise
	s.until("the prompt", func(rows []string) bool { return rows[len(rows)-1] == prompt })
	return s
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	// A child that is forked meanwhile would have the file open until it runs another
	// program, and until then nobody can run what is in it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

// until waits until the rows of the screen are as they must become.
func (s *shell) until(what string, is func(rows []string) bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		rows := picture(s.seen.String())
		if is(rows) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: %s never came; there is\n%s", s.name, what, strings.Join(rows, "\n"))
		}
	}
}

// row waits until the screen's last row is what is wanted behind the prompt. All above
// must be as it was: a message would move it.
func (s *shell) row(above int, want string) {
	s.t.Helper()
	want = strings.TrimRight(prompt+" "+want, " ")
	s.until(strconv.Quote(want), func(rows []string) bool { return len(rows) == above && rows[above-1] == want })
}

// completes types keys, of which the last one is a tab; waits for the line that they
// become; and runs that, to see how the shell understands it.
func (s *shell) completes(keys, line, ran string) {
	s.t.Helper()
	n := len(picture(s.seen.String()))
	s.enter(keys)
	if line != "spike " {
		s.row(n, line)
	}
	s.enter("\r")
	s.until("ran"+ran, func(rows []string) bool {
		return len(rows) == n+2 && rows[n] == "ran"+ran && rows[n+1] == prompt
	})
}

// offersNothing types keys, of which the last one is a tab, and a letter, before which
// nothing may come.
func (s *shell) offersNothing(keys string) {
	s.t.Helper()
	s.shows(keys+"z", strings.ReplaceAll(keys, "\t", "")+"z")
}

// shows types keys, waits for the line that they become, and takes it back.
func (s *shell) shows(keys, line string) {
	s.t.Helper()
	n := len(picture(s.seen.String()))
	s.enter(keys)
	s.row(n, line)
	s.enter("\x15")
	s.row(n, "")
}

// lists types a line, and waits until the shell, asked for what could come next, shows
// each of the texts below it.
func (s *shell) lists(line string, texts ...string) []string {
	s.t.Helper()
	n := len(picture(s.seen.String()))
	key := "\t"
	if s.name == "bash" {
		key = "\x1b?" // a tab is not enough
	}
	s.enter(line + key)
	var shown []string
	s.until(strings.Join(texts, ", "), func(rows []string) bool {
		shown = rows[n:]
		for _, text := range texts {
			if !strings.Contains(strings.Join(shown, "\n"), text) {
				return false
			}
		}
		return true
	})
	// Not by ctrl-C, which is no key: it ends what the shell is just doing.
	s.enter("\x15spike listed\r")
	s.until("ran<listed>", func(rows []string) bool {
		last := len(rows) - 1
		return rows[last] == prompt && rows[last-1] == "ran<listed>"
	})
	return shown
}

// command runs one that says nothing.
func (s *shell) command(line string) {
	s.t.Helper()
	n := len(picture(s.seen.String()))
	s.enter(line + "\r")
	s.row(n+1, "")
}

// leave ends the shell.
func (s *shell) leave() {
	s.t.Helper()
	s.enter("exit\r")
	s.end()
}
