package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

var _ vault.Exporter = (*Store)(nil)

// copyFile is a copy in the making. Once made it has no name any more, so that
// it goes with the last who has it open, however that ends.
const copyFile = "spike.db.copy"

// Export implements [vault.Exporter]. Commits wait for it: about a third of a
// second for 100 MB.
func (s *Store) Export(ctx context.Context) (vault.Copy, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.conn == nil:
		return nil, store.ErrClosed
	case s.failed != nil:
		return nil, fmt.Errorf("%w: %w", store.ErrFailed, s.failed)
	}
	path := filepath.Join(s.folder, copyFile)
	file, err := s.exportLocked(path)
	if err = errors.Join(err, removeBuild(path)); err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, fmt.Errorf("copy the store: %w", err)
	}
	return file, nil
}

// exportLocked makes the copy at path and opens it. SQLite reads through its own
// connection, so that what is in the log alone is in the copy.
func (s *Store) exportLocked(path string) (*copied, error) {
	if err := createEmpty(path); err != nil {
		return nil, err
	}
	// SQLite takes an empty file for one to be made, and leaves its mode alone.
	if err := s.conn.exec("VACUUM INTO '" + strings.ReplaceAll(path, "'", "''") + "'"); err != nil {
		return nil, advise(s.folder, err)
	}
	failpoint.Hit("backup.copied")
	file, err := os.Open(path)
	if err != nil {
		return nil, refusal(path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(refusal(path, err), file.Close())
	}
	return &copied{file, info.Size()}, nil
}

// copied is a [vault.Copy].
type copied struct {
	*os.File
	size int64
}

// Size implements [vault.Copy].
func (c *copied) Size() int64 { return c.size }

// createEmpty makes a file for this user alone in the place of what an earlier
// attempt left.
func createEmpty(path string) error {
	if err := removeBuild(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return refusal(path, err)
	}
	// Against the umask; SQLite gives its log the database's mode.
	if err := errors.Join(file.Chmod(0o600), file.Close()); err != nil {
		return refusal(path, err)
	}
	return nil
}
