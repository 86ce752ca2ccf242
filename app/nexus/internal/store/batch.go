// Package store has what every store of the vault's needs: the check of a batch
// before anything is done with it, and the errors that they share.
package store

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

var (
	// ErrClosed is returned by a store that was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrFailed is returned, with the first failure, for every commit after it.
	ErrFailed = errors.New("the store failed earlier and must be opened anew")
	// ErrBatch is returned for a batch that no store could hold: a mistake of
	// the caller's.
	ErrBatch = errors.New("not a batch that a store can hold")
)

// Check returns [ErrBatch], and why, for a batch that must not be begun. An
// empty header or row is refused because a database may not tell it from none.
func Check(b vault.Batch) error {
	if b.Prev >= math.MaxInt64 {
		return fmt.Errorf("%w: sequence %d is out of range", ErrBatch, b.Prev)
	}
	if b.Header != nil && len(b.Header) == 0 {
		return fmt.Errorf("%w: its header is empty", ErrBatch)
	}
	if len(b.State.Bytes()) == 0 {
		return fmt.Errorf("%w: it has no state", ErrBatch)
	}
	tables := vault.Tables()
	for i := range b.Put {
		row := &b.Put[i]
		if err := checkKey(tables, row.Table, row.ID); err != nil {
			return err
		}
		if len(row.Sealed.Bytes()) == 0 {
			return fmt.Errorf("%w: %s row %d is empty", ErrBatch, row.Table, row.ID)
		}
	}
	for _, key := range b.Delete {
		if err := checkKey(tables, key.Table, key.ID); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(tables []vault.Table, table vault.Table, id uint64) error {
	if !slices.Contains(tables, table) {
		return fmt.Errorf("%w: there is no table %q", ErrBatch, table)
	}
	if id == 0 || id > math.MaxInt64 {
		return fmt.Errorf("%w: %s row %d is out of range", ErrBatch, table, id)
	}
	return nil
}
