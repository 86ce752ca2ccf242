package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/trace"
)

// programs is where the programs are, built once.
var programs string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spike-drill-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		programs = filepath.Join(dir, "bin")
		err = clustertest.Build(context.Background(), programs, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// TestDrills holds them all, as scripts/drill does.
func TestDrills(t *testing.T) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "drill"), "--secrets", "40", "--programs", programs)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	t.Logf("\n%s", out)
	lines := regexp.MustCompile(`(?m)^(.*?) {2,}PASS +\d+\.\d+ s +40$`).FindAllSubmatch(out, -1)
	if len(lines) != len(drills()) {
		t.Errorf("%d of %d drills have a line with a PASS", len(lines), len(drills()))
	}
	// A core file that nobody could force is not passed over in silence.
	const instead = "The memory that would be in a core file was searched in its place."
	if real := trace.CoreFiles() == nil; real == strings.Contains(string(out), instead) {
		t.Errorf("a core file can be had: %t; the table does not say what was done", real)
	}
	for i, line := range lines {
		if string(line[1]) != drills()[i].name {
			t.Errorf("line %d is of %q, not %q", i+1, line[1], drills()[i].name)
		}
	}
}

// TestWithoutCoreFiles holds the drill about core files where none can be had: the
// table says so.
func TestWithoutCoreFiles(t *testing.T) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `ulimit -c 0; exec scripts/drill --secrets 3 --only "core file" --programs "$0"`, programs)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "a core file forced: no core file can be had here: they may have 0 bytes at most. The memory") {
		t.Errorf("the table does not say what was done:\n%s", out)
	}
}

// TestDrillsNotice has drills that lose what they should not, which must fail.
func TestDrillsNotice(t *testing.T) {
	spike := func(args ...string) func(context.Context, *field) (time.Duration, error) {
		return func(ctx context.Context, f *field) (time.Duration, error) { return 0, f.spike(ctx, args...) }
	}
	for _, test := range []struct {
		want string
		drill
	}{
		{"the secrets are others", drill{"a secret more", spike("secret", "put", "drill/more", "k=v")}},
		{"the secrets are others", drill{"another value", spike("secret", "put", "drill/0/secret-0", "name=x")}},
		{"the secrets are others", drill{"a version deleted", spike("secret", "delete", "drill/0/secret-0")}},
		{"exit code 3", drill{"a command that fails", spike("secret", "get", "no/such")}},
		{"has recovery shard 2 as hex", drill{"a shard on disk", func(ctx context.Context, f *field) (time.Duration, error) {
			content, err := os.ReadFile(filepath.Join(f.paper(), "shard-2.txt"))
			return 0, errors.Join(err, os.WriteFile(filepath.Join(f.cluster().Dir(), "log", "left"), content, 0o600))
		}}},
		{"has recovery shard 2 as hex", drill{"a shard in what is lost", func(_ context.Context, f *field) (time.Duration, error) {
			content, err := os.ReadFile(filepath.Join(f.paper(), "shard-2.txt"))
			return 0, errors.Join(err, os.WriteFile(filepath.Join(f.cluster().DataDir(), "left"), content, 0o600), f.remove(f.cluster().DataDir()))
		}}},
		{"has recovery shard 1 as hex", drill{"a shard beside the paper", func(_ context.Context, f *field) (time.Duration, error) {
			content, err := os.ReadFile(filepath.Join(f.paper(), "shard-1.txt"))
			return 0, errors.Join(err, os.WriteFile(filepath.Join(f.kept, "elsewhere"), content, 0o600))
		}}},
		{"the output of \"spike operator version\" has recovery shard 2 as hex", drill{"a shard that is printed", func(_ context.Context, f *field) (time.Duration, error) {
			content, err := os.ReadFile(filepath.Join(f.paper(), "shard-2.txt"))
			f.said = append(f.said, said{"spike operator version", string(content)})
			return 0, err
		}}},
		{"there is no file to look into", drill{"nothing to search", func(_ context.Context, f *field) (time.Duration, error) {
			empty := filepath.Join(f.kept, "empty")
			return 0, errors.Join(os.Mkdir(empty, 0o700), f.remove(empty))
		}}},
		{"waited for Nexus to open", drill{"Nexus does not come back", func(ctx context.Context, f *field) (time.Duration, error) {
			if err := f.cluster().Nexus().Kill(); err != nil {
				return 0, err
			}
			return f.clock(ctx)
		}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := runAll(t.Context(), options{programs: programs, secrets: 3}, []drill{test.drill}, &out, &bytes.Buffer{})
			if !errors.Is(err, errFailed) || !strings.Contains(out.String(), test.name+"  FAIL") || !strings.Contains(out.String(), test.want) {
				t.Errorf("got %v:\n%s", err, out.String())
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{"x"}, {"--secrets", "many"}, {"--only", "no such drill", "--programs", programs}} {
		if err := run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
