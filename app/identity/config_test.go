package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func environment(kv ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, s := range kv {
			if v, ok := strings.CutPrefix(s, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}
}

func TestParse(t *testing.T) {
	env := environment("SPIFFE_ENDPOINT_SOCKET=unix:///run/spike/api.sock", "SPIKE_SYSTEM_LOG_LEVEL=debug")
	for _, tc := range []struct {
		args    string
		command string
		entries string
		socket  string
	}{
		{"run --entries a --entries=b -entries c", "run", "a b c", "/run/spike/api.sock"},
		{"run --entries a --socket s", "run", "a", "s"},
		{"run --entries a --socket unix:///x/../s", "run", "a", "/s"},
		{"check --entries a", "check", "a", ""},
		{"health", "health", "", "/run/spike/api.sock"},
		{"health --socket /s", "health", "", "/s"},
		{"--help", "help", "", ""},
		{"help", "help", "", ""},
		{"run --help", "help", "", ""},
		{"health -h", "help", "", ""},
		{"--version", "version", "", ""},
	} {
		s, err := parse(strings.Fields(tc.args), env)
		if err != nil || s.command != tc.command || strings.Join(s.entries, " ") != tc.entries || s.socket != tc.socket {
			t.Errorf("%s: %+v, %v", tc.args, s, err)
		}
		if slices.Contains([]string{"run", "check", "health"}, s.command) && s.logLevel != slog.LevelDebug {
			t.Errorf("%s: log level %s", tc.args, s.logLevel)
		}
	}
}

func TestWrongUse(t *testing.T) {
	for _, tc := range []struct {
		args string
		env  []string
		want string
	}{
		{"", nil, "no command"},
		{"serve", nil, `unknown command "serve"`},
		{"run", nil, "no entries"},
		{"check", nil, "no entries"},
		{"run --entries a", nil, "no socket; give --socket PATH, or set SPIFFE_ENDPOINT_SOCKET"},
		{"run --entries= --socket /s", nil, "the name is empty"},
		{"run --entries a --socket /s b", nil, `unexpected argument "b"`},
		{"run --entry a", nil, "not defined: -entry"},
		{"check --entries a --socket /s", nil, "not defined: -socket"},
		{"health --entries a", nil, "not defined: -entries"},
		{"health", []string{"SPIFFE_ENDPOINT_SOCKET=tcp://127.0.0.1:80"}, "SPIFFE_ENDPOINT_SOCKET"},
		{"health", []string{"SPIFFE_ENDPOINT_SOCKET=/run/api.sock"}, "write unix:///PATH"},
		{"health", []string{"SPIFFE_ENDPOINT_SOCKET=unix://run/api.sock"}, "write unix:///PATH"},
		{"health --socket unix:s", nil, "--socket"},
		{"health --socket /s", []string{"SPIKE_SYSTEM_LOG_LEVEL=LOUD"}, "SPIKE_SYSTEM_LOG_LEVEL"},
	} {
		err := run(t.Context(), strings.Fields(tc.args), environment(tc.env...), io.Discard, io.Discard)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, wanted %q", tc.args, err, tc.want)
		}
	}
}

// The example that people copy is one that works.
func TestHelp(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"--help"}, environment(), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(out.String(), "An entries file:\n")
	example, _, _ = strings.Cut(example, "\n\n")
	file := filepath.Join(t.TempDir(), "entries.yaml")
	if err := os.WriteFile(file, []byte(example+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := run(t.Context(), []string{"check", "--entries", file}, environment(), &out, io.Discard); err != nil || !strings.HasPrefix(out.String(), "3 entries") {
		t.Errorf("said %q, %v, about\n%s", &out, err, example)
	}
}
