package vault_test

import (
	"fmt"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// TestAVersionTakesTheRowOfTheOneThatGoes writes past the three versions that are
// kept: nothing is deleted then, and no row comes to those that are there.
func TestAVersionTakesTheRowOfTheOneThatGoes(t *testing.T) {
	f := newFixture(t)
	secretRows := func() (ids map[uint64]bool) {
		ids = map[uint64]bool{}
		for _, r := range f.disk.read(t).rows {
			if r.Table == vault.TableSecret {
				ids[r.ID] = true
			}
		}
		return ids
	}
	for i := range 3 {
		f.put("a", fmt.Sprint(i+1))
		f.put("b", fmt.Sprint(i+1))
	}
	before := secretRows()
	for i := range 4 {
		f.put("a", fmt.Sprint(i+4))
		last := f.disk.batches[len(f.disk.batches)-1]
		if len(last.Put) != 1 || len(last.Delete) != 0 || !before[last.Put[0].ID] {
			t.Errorf("version %d puts %d rows, the first at %d, and deletes %d", i+4, len(last.Put), last.Put[0].ID, len(last.Delete))
		}
	}
	if after := secretRows(); len(after) != len(before) {
		t.Errorf("%d rows became %d", len(before), len(after))
	}
	// A destroyed version, of which only the number was kept, goes with the next one.
	if err := f.vault.DestroySecret(t.Context(), admin, &api.SecretVersionsRequest{Path: "b", Versions: []int{3}}); err != nil {
		t.Fatal(err)
	}
	f.put("b", "4")
	f.put("b", "5")
	f.restart()
	f.unlock()
	for version := 5; version <= 7; version++ {
		f.wantGet("a", version, fmt.Sprint(version))
	}
	f.wantErr("a", 4, api.ErrNotFound)
	for _, version := range []int{2, 4, 5} {
		f.wantGet("b", version, fmt.Sprint(version))
	}
	f.wantErr("b", 3, api.ErrNotFound)
	f.wantErr("b", 1, api.ErrNotFound)
}
