// Package memory keeps a vault's rows in memory, for development: what was
// committed is gone when the process ends.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

var _ vault.Store = (*Store)(nil)

// Store is a [vault.Store] that is never full and forgets everything.
type Store struct {
	mu     sync.Mutex
	header []byte
	state  vault.State
	rows   map[vault.RowKey]seal.Sealed
	closed bool
	failed error
}

// New returns an empty store.
func New() *Store {
	return &Store{rows: make(map[vault.RowKey]seal.Sealed)}
}

// Load implements [vault.Store].
func (s *Store) Load(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	rows, header, state, err := s.snapshot()
	if err != nil {
		return nil, vault.State{}, err
	}
	if row == nil {
		return header, state, ctx.Err()
	}
	for _, r := range rows {
		if err := ctx.Err(); err != nil {
			return nil, vault.State{}, err
		}
		r.Sealed = seal.FromStore(bytes.Clone(r.Sealed.Bytes()))
		if err := row(r); err != nil {
			return nil, vault.State{}, err
		}
	}
	return header, state, ctx.Err()
}

// snapshot lists the rows in order, so that Load calls out without the lock.
func (s *Store) snapshot() ([]vault.Row, []byte, vault.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, vault.State{}, store.ErrClosed
	}
	ids := make(map[vault.Table][]uint64)
	for key := range s.rows {
		ids[key.Table] = append(ids[key.Table], key.ID)
	}
	rows := make([]vault.Row, 0, len(s.rows))
	for _, table := range vault.Tables() {
		slices.Sort(ids[table])
		for _, id := range ids[table] {
			sealed := s.rows[vault.RowKey{Table: table, ID: id}]
			rows = append(rows, vault.Row{Table: table, ID: id, Sealed: sealed})
		}
	}
	state := vault.State{Sequence: s.state.Sequence}
	if state.Sequence > 0 {
		state.Sealed = seal.FromStore(bytes.Clone(s.state.Sealed.Bytes()))
	}
	return rows, bytes.Clone(s.header), state, nil
}

// Commit implements [vault.Store].
func (s *Store) Commit(ctx context.Context, b vault.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return store.ErrClosed
	case s.failed != nil:
		return fmt.Errorf("%w: %w", store.ErrFailed, s.failed)
	case b.Prev != s.state.Sequence:
		return fmt.Errorf("%w: it is at %d, and the batch builds on %d", vault.ErrConflict, s.state.Sequence, b.Prev)
	}
	err := store.Check(b)
	if err == nil {
		err = s.applyLocked(b)
	}
	if err != nil {
		s.failed = err
	}
	return err
}

func (s *Store) applyLocked(b vault.Batch) error {
	if err := s.checkDeletesLocked(b); err != nil {
		return err
	}
	for _, row := range b.Put {
		s.rows[vault.RowKey{Table: row.Table, ID: row.ID}] = row.Sealed
	}
	for _, key := range b.Delete {
		delete(s.rows, key)
	}
	if b.Header != nil {
		s.header = bytes.Clone(b.Header)
	}
	s.state = vault.State{Sequence: b.Prev + 1, Sealed: b.State}
	return nil
}

// checkDeletesLocked looks for every row to delete among the store's and the
// batch's own, before anything is changed.
func (s *Store) checkDeletesLocked(b vault.Batch) error {
	if len(b.Delete) == 0 {
		return nil
	}
	put := make(map[vault.RowKey]bool, len(b.Put))
	for _, row := range b.Put {
		put[vault.RowKey{Table: row.Table, ID: row.ID}] = true
	}
	gone := make(map[vault.RowKey]bool, len(b.Delete))
	for _, key := range b.Delete {
		_, stored := s.rows[key]
		if gone[key] || !stored && !put[key] {
			return fmt.Errorf("%w: there is no %s row %d to delete", vault.ErrDamaged, key.Table, key.ID)
		}
		gone[key] = true
	}
	return nil
}

// Close implements [vault.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.rows, s.header = nil, nil
	return nil
}
