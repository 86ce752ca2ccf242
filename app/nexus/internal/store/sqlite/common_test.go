package sqlite_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

func open(t *testing.T, folder string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func closeStore(t *testing.T, s *sqlite.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// content is what the row of a sequence number must hold: made from the number,
// and as hard to compress as a ciphertext.
func content(sequence uint64, size int) seal.Sealed {
	b := make([]byte, size)
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], sequence)
	if _, err := rand.NewChaCha8(seed).Read(b); err != nil {
		panic(err) // it is documented never to fail
	}
	return seal.FromStore(b)
}

// next is the batch that puts row prev+1.
func next(prev uint64, size int) vault.Batch {
	b := vault.Batch{
		Prev: prev, State: content(prev+1, 100),
		Put: []vault.Row{{Table: vault.TableSecret, ID: prev + 1, Sealed: content(prev+1, size)}},
	}
	if prev == 0 {
		b.Header = []byte("header")
	}
	return b
}

func commit(t *testing.T, s *sqlite.Store, b vault.Batch) {
	t.Helper()
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatalf("Commit %d = %v", b.Prev+1, err)
	}
}

// loaded returns the sequence that a store is at, having compared everything in
// it with what the batches of next up to there have put.
func loaded(s *sqlite.Store) (uint64, error) {
	var rows uint64
	header, state, err := s.Load(context.Background(), func(r vault.Row) error {
		rows++
		if r.Table != vault.TableSecret || r.ID != rows {
			return fmt.Errorf("%s row %d comes as number %d", r.Table, r.ID, rows)
		}
		if !bytes.Equal(r.Sealed.Bytes(), content(r.ID, len(r.Sealed.Bytes())).Bytes()) {
			return fmt.Errorf("row %d is not what was put", r.ID)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if rows != state.Sequence || (state.Sequence > 0) != (string(header) == "header") {
		return 0, fmt.Errorf("%d rows and the header %q at sequence %d", rows, header, state.Sequence)
	}
	if rows > 0 && !bytes.Equal(state.Sealed.Bytes(), content(rows, 100).Bytes()) {
		return 0, fmt.Errorf("the state is not that of sequence %d", rows)
	}
	return rows, nil
}

func checkAt(t *testing.T, s *sqlite.Store, want uint64) {
	t.Helper()
	if got, err := loaded(s); err != nil || got != want {
		t.Fatalf("the store is at %d, %v; want %d", got, err, want)
	}
}

// picture is everything that is in a folder.
func picture(t *testing.T, folder string) map[string]string {
	t.Helper()
	seen := make(map[string]string)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		seen[path] = fmt.Sprintf("%v %x", info.Mode(), sha256.Sum256(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// copied is a copy of the folder as it is now, under a store that is open.
// Another process makes it: closing a database takes SQLite's locks away.
func copied(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", folder, to).CombinedOutput(); err != nil {
		t.Fatalf("copy the folder: %v %s", err, out)
	}
	return to
}
