package infile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/infile"
)

func TestOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := infile.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

// TestNamesAreNotRepeated has secrets where a file's name belongs.
func TestNamesAreNotRepeated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hunter2")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"hunter2": fs.ErrNotExist, "hunter2/\x00": nil, strings.Repeat("hunter2\n", 1000): nil, dir: infile.ErrFolder, "": fs.ErrNotExist,
	} {
		_, err := infile.Open(name)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%.10q: got %v", name, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats it: %v", err)
		}
	}
}
