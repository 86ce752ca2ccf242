package vault_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/spiffe/spike/internal/api"
)

// TestLoadPutsTogetherWhatManyWorkersRead has versions of a secret far apart in the
// store, so that different workers read them, of which there are up to five.
func TestLoadPutsTogetherWhatManyWorkersRead(t *testing.T) {
	f := newFixture(t)
	const secrets = 600
	path := func(i int) string { return fmt.Sprintf("a/%03d", i*7%secrets) } // in no order
	for version := 1; version <= 4; version++ {
		for i := range secrets / version {
			f.put(path(i), fmt.Sprintf("%s %d", path(i), version))
		}
	}
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for workers := 1; workers <= 5; workers++ {
		runtime.GOMAXPROCS(workers)
		f.restart()
		f.unlock()
		for i := range secrets {
			for version := 1; version <= 4; version++ {
				switch {
				case i >= secrets/version: // never written
					f.wantErr(path(i), version, api.ErrNotFound)
				case version == 1 && i < secrets/4: // one more than is kept
					f.wantErr(path(i), version, api.ErrNotFound)
				default:
					f.wantGet(path(i), version, fmt.Sprintf("%s %d", path(i), version))
				}
			}
		}
		keys, err := f.vault.ListSecrets(t.Context(), admin, &api.SecretListRequest{})
		if err != nil || len(keys) != secrets || !slices.IsSorted(keys) {
			t.Errorf("%d workers: %d keys, sorted: %v, %v", workers, len(keys), slices.IsSorted(keys), err)
		}
	}
}
