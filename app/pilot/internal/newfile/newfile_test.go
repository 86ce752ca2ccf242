package newfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
)

func write(t *testing.T, path, content string, replace bool) error {
	t.Helper()
	f, err := newfile.Create(path, replace)
	if err != nil {
		return err
	}
	defer func() {
		if err := f.Abort(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := io.WriteString(f, content); err != nil {
		return err
	}
	return f.Commit()
}

func want(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s has %q, %v; want %q", path, got, err, content)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it there are %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}

func TestWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := write(t, path, "one", false); err != nil {
		t.Fatal(err)
	}
	want(t, path, "one")
	if err := write(t, path, "two", false); !errors.Is(err, newfile.ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	want(t, path, "one")
	if err := write(t, path, "three", true); err != nil {
		t.Fatal(err)
	}
	want(t, path, "three")

	f, err := newfile.Create(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	want(t, path, "three")
}

// TestLeftovers: what a maker that was killed has left is told from all else.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if got, err := newfile.Leftovers(filepath.Join(dir, "no", "file")); len(got) != 0 || err != nil {
		t.Errorf("in no folder: %q, %v", got, err)
	}
	f, err := newfile.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	// Its maker is killed here; and a maker of several was, with an older file aside.
	older := f.Aside()
	for _, name := range []string{older, path, filepath.Join(dir, ".file.part"), filepath.Join(dir, ".file.x.part"), filepath.Join(dir, ".other.12.part")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := newfile.Leftovers(path)
	if err != nil || len(got) != 2 || got[0] != f.Name() || got[1] != older {
		t.Errorf("got %q, %v", got, err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	if got, err := newfile.Leftovers(path); err != nil || len(got) != 1 {
		t.Errorf("after an end as it should be: %q, %v", got, err)
	}
}

// owned is a file of some user's.
type owned struct {
	fs.FileInfo
	uid uint32
}

func (o owned) Sys() any { return &syscall.Stat_t{Uid: o.uid} }

// TestWhoseLeftovers: nobody is told to shred what another user has put there.
func TestWhoseLeftovers(t *testing.T) {
	for _, test := range []struct {
		name         string
		file, folder uint32
		want         bool
	}{
		{"own, in a folder of all", 7, 0, true},
		{"another's, in a folder of all", 8, 0, false},
		{"another's, in the own folder", 8, 7, false},
		{"on a medium that is mounted for another", 8, 8, true},
	} {
		if got := newfile.Ours(owned{uid: test.file}, owned{uid: test.folder}, 7); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

func TestNameTakenMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := newfile.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, newfile.ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	want(t, path, "other")
}

func TestOnlyPlainFilesAreReplaced(t *testing.T) {
	dir := t.TempDir()
	if err := write(t, dir, "x", true); err == nil {
		t.Error("a folder was replaced")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/etc/hostname", link); err != nil {
		t.Fatal(err)
	}
	if err := write(t, link, "x", true); err == nil {
		t.Error("a link was replaced")
	}
	if err := write(t, filepath.Join(dir, "no", "file"), "x", true); err == nil {
		t.Error("a file in no folder was made")
	}
}

// TestUnsettled has a disk that fails once the file has its name: it is there, and
// must not be called missing.
func TestUnsettled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := newfile.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "one"); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	if err := f.CommitWith(func(string) error { return broken }); !errors.Is(err, newfile.ErrUnsettled) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	want(t, path, "one")
}
