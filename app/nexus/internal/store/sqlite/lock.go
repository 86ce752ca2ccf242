package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	lockFile = "nexus.lock"
	// lockRecord is the size of what the holder writes. It is always the whole
	// of it, over the old one: a file that is cut first may find the disk full.
	lockRecord = 160
)

// ErrInUse is returned while another process, or another store of this one, has
// the folder.
var ErrInUse = errors.New("the data folder is in use")

// lock keeps other processes out of a folder. The kernel ends it with the
// process, however that dies; what the file then still says is of no account.
// SQLite has its own lock on the database, which is lost when any descriptor of
// that file is closed anywhere in the process; this one is not.
type lock struct {
	file *os.File
	path string
	made bool   // by this attempt to open the store
	was  []byte // what the file's beginning held before, and
	size int64  // how long it was
}

// takeLock locks a folder that has a lock file already. It returns nil when there is
// none: whoever has the folder has one.
func takeLock(folder string) (*lock, error) {
	path := filepath.Join(folder, lockFile)
	there, err := checkFile(path)
	if err != nil || !there {
		return nil, err
	}
	return openLock(path, 0)
}

// makeLock locks a folder that had no lock file a moment ago.
func makeLock(folder string) (*lock, error) {
	path := filepath.Join(folder, lockFile)
	l, err := openLock(path, os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		// Somebody else is starting too.
		return openLock(path, 0)
	}
	return l, err
}

func openLock(path string, how int) (*lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|how|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err != nil {
		return nil, refusal(path, err)
	}
	l := &lock{file: file, path: path, made: how != 0}
	if err := l.take(); err != nil {
		if l.made {
			err = errors.Join(err, os.Remove(path))
		}
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

func (l *lock) take() error {
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		l.made = false // it is theirs by now
		return l.inUse(filepath.Dir(l.path))
	}
	if err != nil {
		return fmt.Errorf("%w: %s cannot be locked: %w; name a folder on a local disk", ErrFolder, l.path, err)
	}
	if l.made {
		if err := l.file.Chmod(0o600); err != nil { // the umask may have taken bits away
			return refusal(l.path, err)
		}
	}
	// Whoever removes the file while it is locked lets the next one in.
	mine, err := l.file.Stat()
	if err != nil {
		return refusal(l.path, err)
	}
	current, err := os.Lstat(l.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, current) {
		l.made = false
		return fmt.Errorf("%w: %s was replaced at this moment; is another process starting? Try again", ErrInUse, l.path)
	}
	if err != nil {
		return refusal(l.path, err)
	}
	l.size = mine.Size()
	l.was = make([]byte, min(l.size, lockRecord))
	if _, err := l.file.ReadAt(l.was, 0); err != nil {
		return refusal(l.path, err)
	}
	return nil
}

// sign says who has the folder.
func (l *lock) sign() error {
	record := fmt.Appendf(nil, "%d %.128s", os.Getpid(), hostname())
	record = append(record, bytes.Repeat([]byte{' '}, lockRecord-1-len(record))...)
	if _, err := l.file.WriteAt(append(record, '\n'), 0); err != nil {
		return refusal(l.path, err)
	}
	return nil
}

// undo makes the file what it was before it was locked. It is still locked.
func (l *lock) undo() error {
	if l.made {
		if err := os.Remove(l.path); err != nil {
			return refusal(l.path, err)
		}
		return nil
	}
	err := l.file.Truncate(l.size)
	if err == nil {
		_, err = l.file.WriteAt(l.was, 0)
	}
	if err != nil {
		return refusal(l.path, err)
	}
	return nil
}

// inUse says who has the lock. A holder that has not yet written its record
// leaves that of an earlier one to be read, which is a dead process.
func (l *lock) inUse(folder string) error {
	var pid int
	var host string
	content, err := io.ReadAll(io.NewSectionReader(l.file, 0, lockRecord))
	if err != nil {
		return fmt.Errorf("%w: %s has another process, and who it is cannot be read: %w", ErrInUse, folder, err)
	}
	_, err = fmt.Sscan(string(content), &pid, &host)
	if err != nil || pid <= 0 || host == hostname() && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return fmt.Errorf("%w: another process has %s, and has not said which it is; "+
			"stop that one first, or name another folder", ErrInUse, folder)
	}
	return fmt.Errorf("%w: the process with id %d on %s has %s; stop that one first, or name another folder",
		ErrInUse, pid, host, folder)
}

// hostname is for people: with containers, process ids alone say little.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "unknown"
	}
	return name
}

// release lets the next one in. The file stays: removing it could remove the
// lock of somebody who has just taken it.
func (l *lock) release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("release the data folder: %w", err)
	}
	return nil
}
