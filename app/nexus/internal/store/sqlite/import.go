package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

var _ vault.Importer = (*Store)(nil)

// importFile is a database that comes in, until it takes the store's place.
const importFile = "spike.db.load"

// Import implements [vault.Importer]. The moment is a rename: before it the store
// is the empty one, after it the other.
func (s *Store) Import(ctx context.Context, content io.Reader, accept func([]byte, vault.State) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.conn == nil:
		return store.ErrClosed
	case s.failed != nil:
		return fmt.Errorf("%w: %w", store.ErrFailed, s.failed)
	case s.sequence != 0:
		return fmt.Errorf("%w: it is at %d, and only an empty one can be replaced", vault.ErrConflict, s.sequence)
	}
	path := filepath.Join(s.folder, importFile)
	err := receive(path, content)
	if err == nil {
		failpoint.Hit("load.received")
		err = s.inspect(ctx, path, accept)
	}
	if err == nil {
		err = s.replaceLocked(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("load a copy: %w", errors.Join(advise(s.folder, err), removeBuild(path)))
	}
	return nil
}

// receive writes content to a file, and flushes it.
func receive(path string, content io.Reader) error {
	if err := createEmpty(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return refusal(path, err)
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); isPath(err) {
		return refusal(path, err) // ours, and not one of content's
	}
	return err
}

func isPath(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

// inspect checks a database as Open does, and asks accept. The database has no
// log afterwards.
func (s *Store) inspect(ctx context.Context, path string, accept func([]byte, vault.State) error) error {
	if err := checkMagic(path); err != nil {
		return err
	}
	c, err := connect(ctx, path)
	if err != nil {
		return err
	}
	other := &Store{log: s.log, conn: c}
	other.missing, err = c.inspect(path)
	if err == nil {
		err = other.acceptLocked(ctx, accept)
	}
	if err == nil {
		err = c.takeOver(path, other.missing)
	}
	if err == nil {
		err = c.checkpoint("TRUNCATE")
	}
	if err = errors.Join(err, c.close(false)); err != nil {
		return err
	}
	if err := checkNoLog(path); err != nil {
		return err
	}
	failpoint.Hit("load.inspected")
	return nil
}

func (s *Store) acceptLocked(ctx context.Context, accept func([]byte, vault.State) error) error {
	header, state, err := s.loadLocked(ctx, nil)
	if err != nil {
		return err
	}
	if header == nil || state.Sequence == 0 {
		return fmt.Errorf("%w: it holds no cluster", vault.ErrFormat)
	}
	return accept(bytes.Clone(header), state)
}

// replaceLocked puts the database at path in the place of the empty one. A log
// binds itself to no database: one that was left beside the new one would be
// played into it, so there must be none.
func (s *Store) replaceLocked(ctx context.Context, path string) error {
	database := filepath.Join(s.folder, databaseFile)
	s.wrote = true // so that the log goes, even one that was found
	if err := s.conn.checkpoint("TRUNCATE"); err != nil {
		return err
	}
	err := s.releaseLocked()
	if err == nil {
		err = checkNoLog(database)
	}
	if err == nil {
		err = syncFolder(s.folder)
	}
	if err == nil {
		failpoint.Hit("load.before-rename")
		err = os.Rename(path, database)
	}
	if err != nil {
		// The empty store is still in its place.
		if again := s.open(ctx, s.folder); again != nil {
			s.failed = errors.Join(err, again)
			return fmt.Errorf("%w: %w", vault.ErrUnknown, s.failed)
		}
		return err
	}
	failpoint.Hit("load.renamed")
	err = syncFolder(s.folder)
	if err == nil {
		err = s.open(context.WithoutCancel(ctx), s.folder)
	}
	if err != nil {
		s.failed = err
		return fmt.Errorf("%w: %w", vault.ErrUnknown, err)
	}
	return nil
}

// checkNoLog makes sure that SQLite took a closed database's log away.
func checkNoLog(path string) error {
	for _, suffix := range [...]string{"-wal", "-journal"} {
		_, err := os.Lstat(path + suffix)
		if err == nil {
			return fmt.Errorf("%w: %s%s is there after it was closed", vault.ErrDamaged, path, suffix)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return refusal(path, err)
		}
	}
	return nil
}
