package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// checkpointIfDueLocked carries the log over into the database when it has grown
// long. It runs at the beginning of a commit, when nobody was told yes yet, and
// so that a flush that fails here fails that commit. Run after one, it would
// have to be kept quiet about, or make a durable commit look like a failed one.
//
// For want of room, a checkpoint is only put off: every commit is still in the
// log, and the log grows.
func (s *Store) checkpointIfDueLocked() error {
	pages, err := s.conn.pagesWritten(false)
	if err != nil {
		return fmt.Errorf("measure the log: %w", err)
	}
	if pages < s.checkpointAt {
		return nil
	}
	err = s.checkpointLocked()
	if errors.Is(err, vault.ErrFull) {
		s.checkpointAt = pages + checkpointRetry
		if !s.cramped {
			s.cramped = true
			s.log.Warn("the disk has no room for the database to grow; writes go on only while its log has room",
				"log_pages", pages, "error", err)
		}
		return nil
	}
	return err
}

// checkpointLocked copies what the log has into the database and flushes both;
// the next commit then begins the log anew. A failure loses nothing that was
// committed. The log counts as copied only after the database was flushed, so
// that what a failed attempt wrote there is written again.
func (s *Store) checkpointLocked() error {
	if err := s.conn.checkpoint("PASSIVE"); err != nil {
		return err
	}
	if _, err := s.conn.pagesWritten(true); err != nil {
		return fmt.Errorf("measure the log: %w", err)
	}
	s.checkpointAt = checkpointPages
	s.cramped = false
	return nil
}

func (c *conn) checkpoint(mode string) error {
	err := c.query("PRAGMA wal_checkpoint("+mode+")", func(v []driver.Value) error {
		// Busy, pages in the log, pages copied. Nobody else reads or writes, so
		// that all is copied at once.
		if v[0] != int64(0) || v[1] != v[2] {
			return fmt.Errorf("only %v of %v pages could be copied", v[2], v[1])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("carry the log over into the database: %w", err)
	}
	return nil
}
