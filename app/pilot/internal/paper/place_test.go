package paper_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
	"github.com/spiffe/spike/app/pilot/internal/paper"
)

// sticks makes a folder for each file, as media of people are.
func sticks(t *testing.T, n int) (parent string, paths []string) {
	t.Helper()
	parent = t.TempDir()
	for i := range n {
		dir := filepath.Join(parent, string(rune('a'+i)))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Join(dir, "shard.txt"))
	}
	return parent, paths
}

// writeOut reserves, lets something happen, and writes.
func writeOut(t *testing.T, paths []string, s *paper.Set, force bool, between func()) (bool, error) {
	t.Helper()
	places, err := paper.Reserve(paths, force)
	if err != nil {
		return false, err
	}
	defer func() {
		if err := places.Abort(); err != nil {
			t.Error(err)
		}
	}()
	between()
	return places.Write(s)
}

func TestEachInItsPlace(t *testing.T) {
	parent, paths := sticks(t, 3)
	nothing := func() {}
	if written, err := writeOut(t, paths, set(7, 3), false, nothing); !written || err != nil {
		t.Fatalf("got %v, %v", written, err)
	}
	for i, path := range paths {
		got, err := paper.ReadFile(path)
		if err != nil || len(got) != 1 || got[0].Index != i+1 || *got[0].Value != set(7, 3).Shards[i+1] {
			t.Errorf("%s: %v", path, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	before := content(t, parent)
	if written, err := writeOut(t, paths, set(8, 3), false, nothing); written || !errors.Is(err, newfile.ErrExists) {
		t.Errorf("over a set: %v, %v", written, err)
	}
	if !maps.Equal(before, content(t, parent)) {
		t.Error("something changed")
	}
	if written, err := writeOut(t, paths, set(8, 3), true, nothing); !written || err != nil {
		t.Errorf("got %v, %v", written, err)
	}
	if after := content(t, parent); len(after) != 3 || after[paths[0]] == before[paths[0]] {
		t.Errorf("%d files are there", len(after))
	}
}

// TestNeverHalfASet has places that become unfit, before and after they are looked at.
// All are as they were then.
func TestNeverHalfASet(t *testing.T) {
	nothing := func() {}
	for name, test := range map[string]struct {
		older  bool // there is an older set, which may be replaced
		shards int
		change func(paths []string) []string
		late   func(t *testing.T, paths []string)
		want   error
	}{
		"too many shards":   {shards: 4, want: paper.ErrCount},
		"too few":           {shards: 2, want: paper.ErrCount},
		"too few, replaced": {older: true, shards: 2, want: paper.ErrCount},
		"named twice":       {shards: 3, change: func(p []string) []string { return []string{p[0], p[1], p[0]} }, want: paper.ErrTwice},
		"no such folder": {shards: 3, change: func(p []string) []string {
			return []string{p[0], p[1], filepath.Join(filepath.Dir(p[2]), "none", "x")}
		}, want: os.ErrNotExist},
		"one came to be there": {shards: 3, late: func(t *testing.T, p []string) {
			if err := os.WriteFile(p[2], []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: newfile.ErrExists},
		"one went": {older: true, shards: 3, late: func(t *testing.T, p []string) {
			if err := os.Remove(p[2]); err != nil {
				t.Fatal(err)
			}
		}, want: os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			parent, paths := sticks(t, 3)
			if test.older {
				if written, err := writeOut(t, paths, set(7, 3), false, nothing); !written || err != nil {
					t.Fatal(err)
				}
			}
			before := content(t, parent)
			names := paths
			if test.change != nil {
				names = test.change(paths)
			}
			written, err := writeOut(t, names, set(8, test.shards), test.older, func() {
				if test.late != nil {
					test.late(t, paths)
				}
			})
			if written || !errors.Is(err, test.want) {
				t.Errorf("got %v, %v", written, err)
			}
			after := content(t, parent)
			if test.late != nil {
				delete(before, paths[2])
				delete(after, paths[2])
			}
			if !maps.Equal(before, after) {
				t.Errorf("something changed: %d files, then %d", len(before), len(after))
			}
		})
	}
}
