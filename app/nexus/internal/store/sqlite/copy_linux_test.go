package sqlite_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// TestFullDiskForCopies: no room for a copy is a refusal, and no more than that.
func TestFullDiskForCopies(t *testing.T) {
	if !isolated(t, withMounts()) {
		return
	}
	disk := smallDisk(t, "16m")
	folder := filepath.Join(disk, "store")
	s := open(t, folder)
	at := uint64(0)
	for ; at < 40; at++ {
		commit(t, s, next(at, 100_000))
	}
	before := names(t, folder)
	good := export(t, s)
	free := fill(t, disk, 1<<20)
	for range 3 {
		if _, err := s.Export(t.Context()); !errors.Is(err, vault.ErrFull) {
			t.Fatalf("Export to a full disk = %v, want ErrFull", err)
		}
		commit(t, s, next(at, 100))
		at++
	}
	if got := names(t, folder); !slices.Equal(got, before) {
		t.Errorf("the folder has %q", got)
	}
	checkAt(t, s, at)
	free()
	export(t, s)
	closeStore(t, s)

	other := smallDisk(t, "8m")
	to := open(t, filepath.Join(other, "store"))
	free = fill(t, other, 1<<20)
	accept := func([]byte, vault.State) error { return nil }
	if err := to.Import(t.Context(), bytes.NewReader(good), accept); !errors.Is(err, vault.ErrFull) || errors.Is(err, vault.ErrUnknown) {
		t.Fatalf("Import to a full disk = %v, want ErrFull", err)
	}
	checkAt(t, to, 0)
	free()
	if err := to.Import(t.Context(), bytes.NewReader(good), accept); err != nil {
		t.Fatal(err)
	}
	checkAt(t, to, 40)
	closeStore(t, to)
}
