// Package sqlite keeps a vault's rows in one SQLite file, for one process at a
// time.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	lib "modernc.org/sqlite/lib"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

var _ vault.Store = (*Store)(nil)

// Store is a [vault.Store] in a folder. It is made by [Open].
type Store struct {
	log    *slog.Logger
	folder string

	// mu is held for the length of a Load, a Commit and Close, so that Close
	// waits for what is under way. It guards everything below.
	mu       sync.Mutex
	lock     *lock
	conn     *conn // nil once closed
	prepared statements
	sequence uint64
	missing  []string // tables that an older program's file has not got yet
	foundLog bool     // there was a write-ahead log when it was opened
	ready    bool     // it can be committed to
	wrote    bool     // something may have been written
	// failed is the first failure that leaves open what is on the disk.
	failed error
	// checkpointAt is how many pages the log may have before the next attempt.
	checkpointAt int
	cramped      bool // the last attempt found no room
}

type statements struct {
	begin, commit, rollback *statement
	header                  *statement
	firstState, nextState   *statement
	put, remove             map[vault.Table]*statement
}

// readyLocked makes the store one that can be committed to, at the first commit. Up
// to then nothing is written: whoever commits has found the rows to be sound, and
// before that the files are evidence.
func (s *Store) readyLocked() error {
	if s.ready {
		return nil
	}
	s.wrote = true
	if err := s.conn.takeOver(filepath.Join(s.folder, databaseFile), s.missing); err != nil {
		return err
	}
	s.missing = nil
	if err := s.prepareLocked(); err != nil {
		return err
	}
	s.ready = true
	return nil
}

func (s *Store) prepareLocked() error {
	p := &s.prepared
	p.put, p.remove = make(map[vault.Table]*statement), make(map[vault.Table]*statement)
	var err error
	prepare := func(query string) *statement {
		if err != nil {
			return nil
		}
		var prepared *statement
		prepared, err = s.conn.prepare(query)
		return prepared
	}
	p.begin = prepare("BEGIN IMMEDIATE")
	p.commit = prepare("COMMIT")
	p.rollback = prepare("ROLLBACK")
	p.header = prepare(`INSERT OR REPLACE INTO "header" (id, content) VALUES (1, ?)`)
	p.firstState = prepare(`INSERT INTO "state" (id, sequence, sealed) VALUES (1, ?, ?)`)
	p.nextState = prepare(`UPDATE "state" SET sequence = ?, sealed = ? WHERE id = 1 AND sequence = ?`)
	for _, table := range vault.Tables() {
		// Without indexes and triggers, OR REPLACE overwrites a row in place.
		p.put[table] = prepare(`INSERT OR REPLACE INTO ` + quote(table) + ` (id, sealed) VALUES (?, ?)`)
		p.remove[table] = prepare(`DELETE FROM ` + quote(table) + ` WHERE id = ?`)
	}
	return err
}

// Load implements [vault.Store].
func (s *Store) Load(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil, vault.State{}, store.ErrClosed
	}
	header, state, err := s.loadLocked(ctx, row)
	if err != nil {
		return nil, vault.State{}, fmt.Errorf("load from the store: %w", err)
	}
	return header, state, nil
}

func (s *Store) loadLocked(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, vault.State{}, err
	}
	if row != nil {
		for _, table := range vault.Tables() {
			if slices.Contains(s.missing, string(table)) {
				continue
			}
			if err := s.loadTableLocked(ctx, table, row); err != nil {
				return nil, vault.State{}, err
			}
		}
	}
	var header []byte
	err := s.conn.query(`SELECT content FROM "header"`, func(v []driver.Value) error {
		var ok bool
		if header, ok = v[0].([]byte); !ok || len(header) == 0 {
			return fmt.Errorf("%w: its header is empty", vault.ErrDamaged)
		}
		return nil
	})
	if err != nil {
		return nil, vault.State{}, err
	}
	state, err := s.stateLocked()
	if err == nil {
		err = ctx.Err() // which the last row's callback may have ended
	}
	return header, state, err
}

func (s *Store) loadTableLocked(ctx context.Context, table vault.Table, row func(vault.Row) error) error {
	query := `SELECT id, sealed FROM ` + quote(table) + ` ORDER BY id`
	return s.conn.query(query, func(v []driver.Value) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		id, isInt := v[0].(int64)
		sealed, isBlob := v[1].([]byte) // the driver's own copy, made for this row
		if !isInt || !isBlob || id < 1 || len(sealed) == 0 {
			return fmt.Errorf("%w: there is a %s row %v that cannot be", vault.ErrDamaged, table, v[0])
		}
		return row(vault.Row{Table: table, ID: uint64(id), Sealed: seal.FromStore(sealed)})
	})
}

func (s *Store) stateLocked() (vault.State, error) {
	var state vault.State
	err := s.conn.query(`SELECT sequence, sealed FROM "state"`, func(v []driver.Value) error {
		sequence, isInt := v[0].(int64)
		sealed, isBlob := v[1].([]byte)
		if !isInt || !isBlob || sequence < 1 || len(sealed) == 0 {
			return fmt.Errorf("%w: its state cannot be", vault.ErrDamaged)
		}
		state = vault.State{Sequence: uint64(sequence), Sealed: seal.FromStore(sealed)}
		return nil
	})
	return state, err
}

// Commit implements [vault.Store]. A context that has ended before it is begun
// leaves the store as it is, and usable.
func (s *Store) Commit(ctx context.Context, b vault.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.conn == nil:
		return store.ErrClosed
	case s.failed != nil:
		return fmt.Errorf("%w: %w", store.ErrFailed, s.failed)
	case b.Prev != s.sequence:
		return fmt.Errorf("%w: it is at %d, and the batch builds on %d", vault.ErrConflict, s.sequence, b.Prev)
	}
	err := s.commitLocked(b)
	if err != nil && !errors.Is(err, vault.ErrFull) {
		s.failed = err
	}
	return err
}

func (s *Store) commitLocked(b vault.Batch) error {
	if err := store.Check(b); err != nil {
		return err
	}
	if err := s.readyLocked(); err != nil {
		return fmt.Errorf("commit %d: %w", b.Prev+1, err)
	}
	if err := s.checkpointIfDueLocked(); err != nil {
		return err
	}
	err := s.transactLocked(b)
	if errors.Is(err, vault.ErrFull) {
		// Carried over, the log begins again at the front of its file, and there
		// may be room after all: for a deletion, say, that people hope will help.
		if full := s.checkpointLocked(); errors.Is(full, vault.ErrFull) {
			return fmt.Errorf("commit %d: %w", b.Prev+1, err)
		} else if full != nil {
			return full
		}
		err = s.transactLocked(b)
	}
	if err != nil {
		return fmt.Errorf("commit %d: %w", b.Prev+1, err)
	}
	s.sequence = b.Prev + 1
	return nil
}

// transactLocked writes a batch in one transaction. SQLite writes the frame that
// makes a transaction count as the last one, and flushes after it. So with
// ErrFull, which only a write can end in, the batch is not there; after a failed
// flush it may be.
func (s *Store) transactLocked(b vault.Batch) error {
	if _, err := s.prepared.begin.exec(); err != nil {
		return err
	}
	err := s.writeLocked(b)
	if err == nil {
		_, err = s.prepared.commit.exec()
	}
	if err == nil {
		return nil
	}
	// After some errors SQLite has rolled back already. Then ROLLBACK is a plain
	// error, and would there still be a transaction, the next BEGIN would fail.
	if _, rollback := s.prepared.rollback.exec(); rollback != nil && !isCode(rollback, lib.SQLITE_ERROR) {
		// What came first is only told: wrapped, it could pass for ErrFull.
		return fmt.Errorf("roll back: %w, after: %s", rollback, err.Error())
	}
	return err
}

func (s *Store) writeLocked(b vault.Batch) error {
	p := &s.prepared
	for i := range b.Put {
		row := &b.Put[i]
		if _, err := p.put[row.Table].exec(int64(row.ID), row.Sealed.Bytes()); err != nil {
			return err
		}
	}
	for _, key := range b.Delete {
		n, err := p.remove[key.Table].exec(int64(key.ID))
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("%w: there is no %s row %d to delete", vault.ErrDamaged, key.Table, key.ID)
		}
	}
	if b.Header != nil {
		if _, err := p.header.exec(b.Header); err != nil {
			return err
		}
	}
	next := int64(b.Prev) + 1
	if b.Prev == 0 {
		_, err := p.firstState.exec(next, b.State.Bytes())
		return err
	}
	n, err := p.nextState.exec(next, b.State.Bytes(), int64(b.Prev))
	if err == nil && n != 1 {
		err = fmt.Errorf("%w: its state is no longer that of commit %d", vault.ErrDamaged, b.Prev)
	}
	return err
}

// Close implements [vault.Store]. It waits for a commit under way. After commits,
// SQLite carries the log over into the database; where it cannot, the log stays,
// and the next Open reads it.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.releaseLocked()}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
		s.lock = nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// releaseLocked closes the database, if it is open.
func (s *Store) releaseLocked() error {
	if s.conn == nil {
		return nil
	}
	var errs []error
	for _, statement := range s.prepared.all() {
		errs = append(errs, statement.driver.Close())
	}
	// A log that was found stays as it was until something is written: the store may
	// have been refused for what is in it. And after a failure it is all that is
	// known for certain. One that SQLite has just made, and is empty, goes.
	keep := s.failed != nil || s.foundLog && !s.wrote
	errs = append(errs, s.conn.close(keep))
	s.conn, s.prepared = nil, statements{}
	return errors.Join(errs...)
}

// all lists the statements that there are; after a failed Open, not every one.
func (p *statements) all() []*statement {
	list := []*statement{p.begin, p.commit, p.rollback, p.header, p.firstState, p.nextState}
	for _, m := range []map[vault.Table]*statement{p.put, p.remove} {
		for _, statement := range m {
			list = append(list, statement)
		}
	}
	open := list[:0]
	for _, statement := range list {
		if statement != nil {
			open = append(open, statement)
		}
	}
	return open
}
