package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

const (
	databaseFile = "spike.db"
	// buildFile is a new database until it is complete.
	buildFile = "spike.db.new"

	// checkpointPages is how long the write-ahead log grows, in pages of 4 KiB,
	// before it is carried over into the database.
	checkpointPages = 1000
	// checkpointRetry is how much longer, after the disk had no room for that.
	checkpointRetry = 250
	// walKeep is what is kept of the log's file, in bytes, once it was carried
	// over: overwriting flushes faster than appending.
	walKeep = "16777216"
)

// Config says where a store is.
type Config struct {
	// Folder is made if it is missing. It belongs to this process alone.
	Folder string
	// Log hears of what is no error yet: a disk that is about to be full.
	Log *slog.Logger
}

// Open opens the store in a folder, or makes an empty one. It returns an error
// that wraps [ErrInUse], [ErrFolder], [vault.ErrFormat], [vault.ErrDamaged] or
// [vault.ErrFull] and says what to do; a folder that was refused is as it was.
func Open(ctx context.Context, config Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Store{log: config.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	folder, made, err := prepareFolder(config.Folder)
	if err == nil {
		s.folder = folder
		err = s.lockAndOpen(ctx, folder)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", errors.Join(advise(folder, err), removeFolders(made)))
	}
	return s, nil
}

// lockAndOpen leaves nothing behind when it fails, and nothing open.
func (s *Store) lockAndOpen(ctx context.Context, folder string) (err error) {
	path := filepath.Join(folder, databaseFile)
	if s.lock, err = takeLock(folder); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		errs := []error{err, s.releaseLocked()}
		if s.lock != nil {
			errs = append(errs, s.lock.undo(), s.lock.release())
			s.lock = nil
		}
		err = errors.Join(errs...)
	}()
	// A folder that is to be refused gets no lock file. But what was seen of one that
	// is not locked counts only if nobody has come and locked it since.
	if s.lock == nil {
		if _, _, refused := checkFiles(path); refused == nil {
			s.lock, err = makeLock(folder)
		} else if s.lock, err = takeLock(folder); err == nil && s.lock == nil {
			err = refused
		}
		if err != nil {
			return err
		}
	}
	if err := s.lock.sign(); err != nil {
		return err
	}
	if err := s.open(ctx, folder); err != nil {
		return err
	}
	// What a copy that was cut off has left.
	return errors.Join(removeBuild(filepath.Join(folder, copyFile)), removeBuild(filepath.Join(folder, importFile)))
}

// open opens the store of a folder that is locked.
func (s *Store) open(ctx context.Context, folder string) error {
	path := filepath.Join(folder, databaseFile)
	there, log, err := checkFiles(path)
	if err == nil && !there {
		err = build(ctx, folder)
	}
	if err != nil {
		return err
	}
	s.foundLog, s.wrote, s.ready = log, false, false
	if s.conn, err = connect(ctx, path); err != nil {
		return err
	}
	if s.missing, err = s.conn.inspect(path); err != nil {
		return err
	}
	// SQLite has made the log's file by now. It would flush the folder with the
	// first commit, and ignore it if that failed.
	if err := syncFolder(folder); err != nil {
		return err
	}
	s.checkpointAt = checkpointPages
	state, err := s.stateLocked()
	if err != nil {
		return err
	}
	if s.sequence = state.Sequence; s.sequence == 0 {
		return s.conn.checkBirth(path, s.missing)
	}
	return nil
}

// inspect checks the database and changes nothing in it. It returns the tables that
// are missing.
func (c *conn) inspect(path string) (missing []string, err error) {
	// From its first look at the file, SQLite then locks it until it is closed,
	// and keeps the index of the log in its own memory.
	if err := c.set("locking_mode", "EXCLUSIVE", "exclusive"); err != nil {
		return nil, err
	}
	if err := c.checkMarks(path); err != nil {
		return nil, err
	}
	if missing, err = c.checkSchema(path); err != nil {
		return nil, err
	}
	if err := c.checkPages(path); err != nil {
		return nil, err
	}
	return missing, c.configure()
}

// takeOver makes a database that was inspected one that can be written to.
func (c *conn) takeOver(path string, missing []string) error {
	mode, err := c.value("PRAGMA journal_mode")
	if err != nil {
		return err
	}
	if mode != "wal" {
		if err := c.set("journal_mode", "WAL", "wal"); err != nil {
			return err
		}
		if err := syncFolder(filepath.Dir(path)); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return c.createTables(missing)
}

// configure sets what the promise to be durable rests on, and a few bounds. None of
// it writes to the file.
func (c *conn) configure() error {
	settings := []struct {
		pragma, value string
		want          any
	}{
		{"synchronous", "FULL", int64(2)}, // each commit flushes the log
		{"fullfsync", "ON", int64(1)},     // and on a Mac, the disk's own cache
		{"checkpoint_fullfsync", "ON", int64(1)},
		{"secure_delete", "ON", int64(1)}, // costs nothing measurable here
		{"temp_store", "MEMORY", int64(2)},
		{"trusted_schema", "OFF", int64(0)},
		{"cell_size_check", "ON", int64(1)},
		// SQLite's own checkpoints come after a commit, and nobody hears when
		// one of their flushes fails. See Store.checkpoint.
		{"wal_autocheckpoint", "0", int64(0)},
		{"journal_size_limit", walKeep, int64(16777216)},
		{"busy_timeout", "0", int64(0)}, // whoever has the file keeps it
	}
	for _, s := range settings {
		if err := c.set(s.pragma, s.value, s.want); err != nil {
			return err
		}
	}
	return nil
}

// checkFiles reports whether there is a database, and a log. It refuses what is no
// store of ours, and what SQLite would act on: it deletes a log without its database,
// and trusts a journal.
func checkFiles(path string) (there, log bool, err error) {
	if there, err = checkFile(path); err != nil {
		return there, log, err
	}
	if log, err = checkFile(path + "-wal"); err != nil {
		return there, log, err
	}
	if log && !there {
		return there, log, fmt.Errorf("%w: %s-wal is there and %s is missing; put it back, or restore a backup",
			vault.ErrDamaged, path, path)
	}
	journal, err := checkFile(path + "-journal")
	if err == nil && journal {
		err = fmt.Errorf("%w: SPIKE never leaves a %s-journal, and SQLite would play it back; move it away",
			vault.ErrDamaged, path)
	}
	if err == nil && there {
		// Before SQLite has the file: it may repair, and so change, what is not ours.
		err = checkMagic(path)
	}
	return there, log, err
}

// advise adds what to do to what SQLite alone has said.
func advise(folder string, err error) error {
	if !isSQLite(err) {
		return err
	}
	switch {
	case errors.Is(err, vault.ErrFull):
		return fmt.Errorf("%w; make room on the disk of %s", err, folder)
	case errors.Is(err, vault.ErrDamaged):
		return fmt.Errorf("%w; restore a backup of %s", err, folder)
	case errors.Is(err, ErrInUse):
		return fmt.Errorf("%w; some other process has the database in %s open, stop that first", err, folder)
	}
	return fmt.Errorf("%w; check the disk of %s, then start again", err, folder)
}

// checkMagic reads the database's header without SQLite. The file is closed
// again before SQLite opens it, so that none of its locks are lost.
func checkMagic(path string) error {
	header := make([]byte, 100)
	file, err := os.Open(path)
	if err != nil {
		return refusal(path, err)
	}
	n, err := file.ReadAt(header, 0)
	if closing := file.Close(); closing != nil {
		return refusal(path, closing)
	}
	if n < len(header) {
		return fmt.Errorf("%w: %s has %d bytes (%w); restore a backup, or remove it if it never held anything",
			vault.ErrFormat, path, n, err)
	}
	if !bytes.HasPrefix(header, []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%w: %s is no database; move it away, or restore a backup", vault.ErrFormat, path)
	}
	// A newer version that stands in the log alone is found by checkMarks.
	signed := func(offset int) int64 { return int64(int32(binary.BigEndian.Uint32(header[offset:]))) }
	return knownFormat(path, signed(68), signed(60))
}

// build makes an empty store beside its place and moves it there: spike.db is
// complete or not there at all. What an earlier attempt left is removed.
func build(ctx context.Context, folder string) (err error) {
	path := filepath.Join(folder, buildFile)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a new store: %w", err), removeBuild(path))
		}
	}()
	if err := createEmpty(path); err != nil {
		return err
	}
	if err := fill(ctx, path); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(folder, databaseFile)); err != nil {
		return refusal(path, err)
	}
	return syncFolder(folder)
}

func fill(ctx context.Context, path string) error {
	c, err := connect(ctx, path)
	if err != nil {
		return err
	}
	err = c.set("locking_mode", "EXCLUSIVE", "exclusive")
	if err == nil {
		err = c.configure()
	}
	if err == nil {
		err = c.takeOver(path, nil)
	}
	if err == nil {
		err = c.createTables(slices.Sorted(maps.Keys(schema())),
			fmt.Sprintf("PRAGMA application_id=%d", applicationID),
			fmt.Sprintf("PRAGMA user_version=%d", formatVersion))
	}
	if err == nil {
		// Everything goes into the database and is flushed there. Closing does
		// this too, but is silent when it fails.
		err = c.checkpoint("TRUNCATE")
	}
	return errors.Join(err, c.close(false))
}

func removeBuild(path string) error {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return refusal(path, err)
		}
	}
	return nil
}
