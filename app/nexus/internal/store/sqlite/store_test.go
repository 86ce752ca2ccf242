package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/store/storetest"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New: func(t *testing.T) func() (vault.Store, error) {
			// Whatever a folder may be called.
			folder := filepath.Join(t.TempDir(), `a b?c=d&mode=memory#e%20f'g"h`)
			return func() (vault.Store, error) { return sqlite.Open(t.Context(), sqlite.Config{Folder: folder}) }
		},
	})
}
