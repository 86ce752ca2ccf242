package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/cli"
)

// walk calls visit with the words of every command.
func walk(cmd *cobra.Command, words []string, visit func([]string)) {
	visit(words)
	for _, c := range cmd.Commands() {
		walk(c, append(words[:len(words):len(words)], c.Name()), visit)
	}
}

// bare runs the command with nothing in its environment.
func bare(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := exec.LookPath("spike")
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Env = []string{quickExit, "GOCOVERDIR=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A failure to run at all shows as a code of -1.
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestHelpNeedsNothing(t *testing.T) {
	walk(cli.New(cli.Deps{}), nil, func(words []string) {
		name := strings.Join(words, " ")
		help, errs, code := bare(t, append(words[:len(words):len(words)], "--help")...)
		if code != 0 || errs != "" || !strings.Contains(help, "Usage:\n  spike") {
			t.Errorf("%s --help: exit code %d: %s%s", name, code, help, errs)
		}
		for line := range strings.Lines(help) {
			if words != nil && words[0] != "completion" && len([]rune(line)) > 101 {
				t.Errorf("%s --help: a line is too long: %s", name, line)
			}
		}
		again, _, code := bare(t, append([]string{"help"}, words...)...)
		if code != 0 || again != help {
			t.Errorf("help %s: exit code %d, and not what --help shows:\n%s\n%s", name, code, again, help)
		}
	})
}

func TestVersionNeedsNothing(t *testing.T) {
	for _, arg := range []string{"--version", "-v", "version"} {
		if out, _, code := bare(t, arg); code != 0 || !strings.HasPrefix(out, "spike ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit code %d: %s", arg, code, out)
		}
	}
}

func TestCompletionNeedsNothing(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, errs, code := bare(t, "completion", shell); code != 0 || errs != "" || !strings.Contains(out, " __complete ") {
			t.Errorf("%s: exit code %d, %d bytes: %s", shell, code, len(out), errs)
		}
	}
	for words, want := range map[string]string{
		"secret ":                 "delete\tDelete versions of a secret, so that they can be brought back\ndestroy\t",
		"operator re":             "recover\t",
		"secret get web/db -o ":   "text\njson\nyaml\n",
		"secret put ":             ":4\n",
		"operator status --ch":    "--check\t",
		"secret get --version 1 ": ":4\n",
	} {
		out, _, code := bare(t, append([]string{"__complete"}, strings.Split(words, " ")...)...)
		if code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("%q: exit code %d: %q", words, code, out)
		}
	}
}
