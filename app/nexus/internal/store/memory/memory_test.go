package memory_test

import (
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/store/storetest"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New: func(*testing.T) func() (vault.Store, error) {
			return func() (vault.Store, error) { return memory.New(), nil }
		},
		Volatile: true,
	})
}
