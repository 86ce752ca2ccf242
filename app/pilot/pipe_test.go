package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
)

// toNobody runs spike with its standard output, and with both also its standard
// error, going to a reader that has left.
func toNobody(t *testing.T, w *world, both bool, args ...string) (int, string) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	cmd := exec.Command("spike", args...)
	cmd.Env = append(os.Environ(), w.environment()...)
	cmd.Stdout, cmd.Stderr = writer, &seen
	if both {
		cmd.Stderr = writer
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	return cmd.ProcessState.ExitCode(), seen.String()
}

// TestNobodyReads pipes commands into one that ends at once, as in
// "spike operator init | true". What they do is done, and they say so.
func TestNobodyReads(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("name: p\nspiffeidPattern: ^spiffe://a$\npathPattern: ^a$\npermissions: [read]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, both := range []bool{false, true} {
		w := newWorld(t)
		w.become(api.StateUninitialized, "/spike/pilot/role/superuser", "/spike/pilot/role/recover")
		paper := filepath.Join(t.TempDir(), "paper")
		for _, test := range []struct {
			what string
			args []string
		}{
			{"The cluster was made.", []string{"operator", "init"}},
			{"The recovery shards were written.", []string{"operator", "recover", "--dir", paper}},
			{"Version 1 of web/db was written.", []string{"secret", "put", "web/db", "k=v", "--no-warn", "-o", "json"}},
			{"The policies were written.", []string{"policy", "apply", "--file", policy}},
			{"The versions were changed.", []string{"secret", "delete", "web/db", "-o", "json"}},
			{"", []string{"secret", "get", "web/db", "--keys", "--version", "1"}},
		} {
			code, seen := toNobody(t, w, both, test.args...)
			want := test.what + " But the answer could not be written.\n  Why:     Standard output: broken pipe."
			switch {
			case test.what == "":
				if code != 3 { // it was deleted before, and that is told where nothing is printed
					t.Errorf("%v: exit code %d: %s", test.args, code, seen)
				}
			case code != 1 || !both && !strings.Contains(seen, want):
				t.Errorf("%v: exit code %d: %s", test.args, code, seen)
			}
		}
		if files, err := filepath.Glob(filepath.Join(paper, "shard-*.txt")); err != nil || len(files) != 3 {
			t.Errorf("%v, %v", files, err)
		}
		if len(w.stored("web/db")) != 1 || w.policies["p"] == nil {
			t.Error("something was not done")
		}
		w.close()
	}
}
