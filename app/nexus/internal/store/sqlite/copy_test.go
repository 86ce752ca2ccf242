package sqlite_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

func export(t *testing.T, s *sqlite.Store) []byte {
	t.Helper()
	c, err := s.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != c.Size() {
		t.Errorf("a copy of %d bytes is said to have %d", len(b), c.Size())
	}
	return b
}

func load(t *testing.T, s *sqlite.Store, content []byte) error {
	t.Helper()
	return s.Import(t.Context(), bytes.NewReader(content), func(header []byte, state vault.State) error {
		if string(header) != "header" || state.Sequence == 0 {
			t.Errorf("accept is asked for %q at %d", header, state.Sequence)
		}
		return nil
	})
}

// names lists what is in a folder.
func names(t *testing.T, folder string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestCopyIsOfOneCommit takes copies along the way and looks at each later.
func TestCopyIsOfOneCommit(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "it's \"here\"")
	s := open(t, folder)
	copies := map[uint64][]byte{}
	for at := range uint64(60) {
		commit(t, s, next(at, 3000))
		if at%13 == 0 {
			copies[at+1] = export(t, s)
		}
	}
	checkAt(t, s, 60)
	if got := names(t, folder); slices.ContainsFunc(got, func(n string) bool { return strings.Contains(n, "copy") }) {
		t.Errorf("the folder has %q", got)
	}
	for at, content := range copies {
		into := filepath.Join(t.TempDir(), "new")
		other := open(t, into)
		if err := load(t, other, content); err != nil {
			t.Fatal(err)
		}
		checkAt(t, other, at)
		commit(t, other, next(at, 100))
		closeStore(t, other)
		other = open(t, into)
		checkAt(t, other, at+1)
		if got := names(t, into); slices.ContainsFunc(got, func(n string) bool { return strings.Contains(n, "load") }) {
			t.Errorf("the folder has %q", got)
		}
		for _, name := range names(t, into) {
			if info, err := os.Stat(filepath.Join(into, name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", name, info.Mode(), err)
			}
		}
	}
}

// TestCopyIsRefused: what is not a store stays out, and the empty one goes on.
func TestCopyIsRefused(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "from"))
	empty := export(t, s)
	commit(t, s, next(0, 5000))
	commit(t, s, next(1, 5000))
	good := export(t, s)
	newer := bytes.Clone(good)
	newer[63] = 200
	foreign := bytes.Clone(good)
	foreign[68] = 'X'
	cut := good[:len(good)/2]
	refused := errors.New("refused")
	network := errors.New("network")

	folder := filepath.Join(t.TempDir(), "to")
	to := open(t, folder)
	for name, test := range map[string]struct {
		content io.Reader
		accept  error
		want    error
	}{
		"nothing":           {strings.NewReader(""), nil, vault.ErrFormat},
		"text":              {strings.NewReader(strings.Repeat("x", 9000)), nil, vault.ErrFormat},
		"another program's": {bytes.NewReader(foreign), nil, vault.ErrFormat},
		"a newer format":    {bytes.NewReader(newer), nil, vault.ErrFormat},
		"an empty store":    {bytes.NewReader(empty), nil, vault.ErrFormat},
		"one that is cut":   {bytes.NewReader(cut), nil, vault.ErrDamaged},
		"a refused one":     {bytes.NewReader(good), refused, refused},
		"a broken line":     {io.MultiReader(bytes.NewReader(cut), iotest.ErrReader(network)), nil, network},
	} {
		err := to.Import(t.Context(), test.content, func([]byte, vault.State) error { return test.accept })
		if !errors.Is(err, test.want) || errors.Is(err, vault.ErrUnknown) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		checkAt(t, to, 0)
		if got := names(t, folder); slices.ContainsFunc(got, func(n string) bool { return strings.Contains(n, "load") }) {
			t.Errorf("%s: the folder has %q", name, got)
		}
	}
	if err := load(t, to, good); err != nil {
		t.Fatal(err)
	}
	checkAt(t, to, 2)
	if err := load(t, to, good); !errors.Is(err, vault.ErrConflict) {
		t.Errorf("a load over a store: %v", err)
	}
	checkAt(t, to, 2)
}

// TestLeftoversOfCopies: what a killed process left is gone after the next start.
func TestLeftoversOfCopies(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	s := open(t, folder)
	commit(t, s, next(0, 100))
	closeStore(t, s)
	for _, name := range []string{"spike.db.copy", "spike.db.copy-journal", "spike.db.load", "spike.db.load-wal"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, folder)
	checkAt(t, s, 1)
	if got := names(t, folder); slices.ContainsFunc(got, func(n string) bool {
		return strings.Contains(n, "copy") || strings.Contains(n, "load")
	}) {
		t.Errorf("the folder has %q", got)
	}
}
