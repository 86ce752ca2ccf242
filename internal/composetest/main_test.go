package composetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/clustertest"
)

// These tests need a container engine. Where there is none scripts/test leaves them
// out, in the open; they do not skip themselves.

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkout is the working state of this checkout in an empty folder, as a fresh clone
// of it would be. All tests share it, since to build the programs takes longest.
var checkout string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spike-compose-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		checkout = filepath.Join(dir, "spike")
		err = clone(context.Background(), checkout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func clone(ctx context.Context, to string) error {
	from, err := clustertest.Root()
	if err != nil {
		return err
	}
	names, err := clustertest.Files(ctx, from)
	for _, name := range names {
		info, statErr := os.Stat(filepath.Join(from, name))
		content, readErr := os.ReadFile(filepath.Join(from, name))
		if err = errors.Join(err, statErr, readErr); err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, content, info.Mode().Perm())); err != nil {
			return err
		}
	}
	return err
}

// newStack names a stack. Whatever ends this process, what
// was started of it is removed.
func newStack(t *testing.T) *Stack {
	t.Helper()
	s, err := New(checkout, fmt.Sprintf("spike-test-%d", rand.Uint32()))
	must(t, err)
	unguard := s.guard(t)
	t.Cleanup(func() {
		defer unguard()
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			t.Logf("the logs' last lines:\n%s", s.Logs(ctx, 20))
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// guard has a process wait for the end of this one, however that comes, and remove
// what is then still there.
func (s *Stack) guard(t *testing.T) (unguard func()) {
	t.Helper()
	const script = `read -r done || { cd "$0" && scripts/compose down --destroy --yes; }`
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/bash", "-c", script, s.root)
	cmd.Env = append(cmd.Environ(), s.Env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	must(t, err, cmd.Start())
	return func() {
		_, err := stdin.Write([]byte("done\n"))
		if err := errors.Join(err, stdin.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// script runs scripts/compose, which must end with the exit code, and returns what it
// said.
func (s *Stack) script(t *testing.T, code int, stdin string, args ...string) clustertest.Result {
	t.Helper()
	r, err := s.Run(t.Context(), strings.NewReader(stdin), filepath.Join(s.root, "scripts", "compose"), args...)
	must(t, err)
	if r.Code != code {
		t.Fatalf("scripts/compose %q: exit code %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

func (s *Stack) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.Docker(t.Context(), args...)
	must(t, err)
	return out
}

func (s *Stack) container(t *testing.T, service string) string {
	t.Helper()
	id, err := s.Container(t.Context(), service)
	must(t, err)
	return id
}

// contains checks what a command said.
func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q is not in:\n%s", want, text)
	}
}
