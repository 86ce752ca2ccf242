package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/app/bench/internal/measure"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/process"
)

// TestMain is also the ceiling's server, for which measurements start their own
// program.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "ceiling" {
		if err := run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestEverythingIsMeasured runs it all in little, and looks at nothing but that
// each row has its figures: how large they are depends on the machine.
func TestEverythingIsMeasured(t *testing.T) {
	t.Parallel()
	programs := filepath.Join(t.TempDir(), "bin")
	if err := clustertest.Build(t.Context(), programs, ""); err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: with a test's name in it, it could be too long for a socket.
	folder, err := os.MkdirTemp("", "spike-bench-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		// Everything that was made there is gone.
		if err := os.Remove(folder); err != nil {
			t.Error(err)
		}
	}()
	rows, err := measure.Run(t.Context(), measure.Config{
		Programs: programs, Folder: folder, Say: t.Logf,
		Size: measure.Size{Rounds: 2, Time: 20 * time.Millisecond, Workloads: 20, Large: 2000, Starts: 1, Flushes: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 20 {
		t.Errorf("%d rows", len(rows))
	}
	for _, r := range rows {
		want := 2
		if strings.HasPrefix(r.ID, "start-") || strings.HasPrefix(r.ID, "memory") || r.ID == "list" {
			want = 1
		}
		if len(r.Samples) != want {
			t.Errorf("%s has %d samples, want %d", r.ID, len(r.Samples), want)
		}
		for _, s := range r.Samples {
			if s.Value <= 0 || (s.Base <= 0) != (r.Against == "") {
				t.Errorf("%s: %+v", r.ID, s)
			}
		}
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, want string }{
		{"", "--programs is missing"},
		{"--programs bin --rounds -1", "at least"},
		{"--programs bin more", "more"},
		{"--none", "none"},
		{"--programs bin --only reads,everything", "everything"},
	} {
		err := run(t.Context(), strings.Fields(tc.args), func(string) (string, bool) { return "", false }, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, process.ErrUsage) {
			t.Errorf("%q: %v", tc.args, err)
		}
	}
	if err := run(t.Context(), []string{"--help"}, nil, io.Discard, io.Discard); err != nil {
		t.Errorf("--help: %v", err)
	}
	if err := run(t.Context(), []string{"ceiling"}, func(string) (string, bool) { return "", false }, io.Discard, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "SPIFFE_ENDPOINT_SOCKET") {
		t.Errorf("the ceiling without a Workload API: %v", err)
	}
}
