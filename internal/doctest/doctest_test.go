package doctest

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"
)

// run runs a page's commands in this very machine's bash.
func run(t *testing.T, kind, text string) error {
	t.Helper()
	return Run(Page{
		Name: "page", Text: text, Kind: kind, Folder: t.TempDir(), Plain: func(s string) string { return s },
		Bash: func(script string) (int, string, error) {
			var stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "/bin/bash", "-eu", script)
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = nil
			}
			return cmd.ProcessState.ExitCode(), stderr.String(), err
		},
	})
}

// TestRunNotices has pages that must not pass.
func TestRunNotices(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a command that fails":      "```sh\ntrue\n```\n\n```sh\necho before\nfalse\ntrue\n```\n",
		"a command in a pipe":       "```sh\nset -o pipefail\nfalse | cat\n```\n",
		"an unset variable":         "```sh\necho $not_there\n```\n",
		"a word that is no command": "```sh\nspike-frobnicate\n```\n",
		"other output":              "```sh\necho one\n```\n```output\ntwo\n```\n",
		"a missing line":            "```sh\necho one\n```\n```output\none\ntwo\n```\n",
		"a line too many":           "```sh\necho one; echo two\n```\n```output\none\n```\n",
		"output of nothing":         "```output\none\n```\n",
		"no kind":                   "```\ntrue\n```\n",
		"a kind that nothing runs":  "```sh containers\ntrue\n```\n",
		"no end":                    "```sh\ntrue\n",
	} {
		if run(t, Local, text) == nil {
			t.Errorf("%s was not noticed", name)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	good := "```sh\na=1\n```\nText.\n```sh\necho \"$a  2 $RANDOM\"; printf 'x\\ny\\nend'; echo >&2\n```\n" +
		"```output\n1 2 …\n…\nend\n```\n```text\nfalse\n```\n```sh compose\necho \"${a-other shell}\"; exit 3\n```\n```output\nother shell\n```\n"
	if err := run(t, Local, good); err != nil {
		t.Error(err)
	}
	if run(t, Compose, good) == nil {
		t.Error("a command of the other kind, which fails, was not noticed")
	}
	for kind, want := range map[string]bool{Local: true, Compose: true, "yaml": false} {
		if has, err := Has(good, kind); has != want || err != nil {
			t.Errorf("%q: %v, %v", kind, has, err)
		}
	}
}
