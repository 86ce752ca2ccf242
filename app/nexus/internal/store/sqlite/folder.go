package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// ErrFolder is returned for a data folder, or a file in it, that cannot be used
// as it is. Nothing was changed.
var ErrFolder = errors.New("the data folder cannot be used")

// prepareFolder returns the folder's absolute path. It makes the folder when it
// is missing, and otherwise refuses one that others could reach into. made has the
// folders that it made, the innermost last.
func prepareFolder(folder string) (path string, made []string, err error) {
	if folder == "" {
		return "", nil, fmt.Errorf("%w: it has no name; set one", ErrFolder)
	}
	if path, err = filepath.Abs(folder); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if _, err = os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if made, err = makeFolder(path); err != nil {
			return "", made, err
		}
	}
	return path, made, checkFolder(path)
}

func checkFolder(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return refusal(path, err)
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return refusal(path, err)
		}
		return fmt.Errorf("%w: %s is a symbolic link to %s, and a link can be pointed elsewhere; "+
			"name the folder itself", ErrFolder, path, target)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is a file; name a folder, or one that does not exist yet", ErrFolder, path)
	}
	if err := checkPrivate(path, info, "chmod 700"); err != nil {
		return err
	}
	return checkAccess(path, unix.R_OK|unix.W_OK|unix.X_OK)
}

// checkAccess asks the system: what a mode allows says nothing about a disk that
// is mounted read-only.
func checkAccess(path string, access uint32) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, access, unix.AT_EACCESS); err != nil {
		return refusal(path, err)
	}
	return nil
}

// makeFolder makes the folder and what is missing above it, for this user only, and
// returns what it made. Each new entry is flushed: a folder that a power cut takes
// away takes with it whatever was flushed inside.
func makeFolder(path string) (made []string, err error) {
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) && parent != path {
		if made, err = makeFolder(parent); err != nil {
			return made, err
		}
	}
	err = os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return made, nil // somebody else just made it; it is checked like any other
	}
	if err == nil {
		made = append(made, path)
		err = os.Chmod(path, 0o700) // the umask may have taken bits away
	}
	if err == nil {
		err = syncFolder(parent)
	}
	if err != nil {
		return made, refusal(path, err)
	}
	return made, nil
}

// removeFolders takes folders that makeFolder made away again, as far as they are
// empty: something may be in one that is not ours.
func removeFolders(made []string) error {
	for _, path := range slices.Backward(made) {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			return nil
		}
		if err != nil {
			return refusal(path, err)
		}
	}
	return nil
}

// checkFile refuses a file that is not a plain one or that others could reach.
// It reports whether the file is there. It does not open it: closing a second
// descriptor of a database would drop SQLite's locks on it.
func checkFile(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, refusal(path, err)
	}
	if !info.Mode().IsRegular() {
		return true, fmt.Errorf("%w: %s is not a plain file (%s); move it away", ErrFolder, path, info.Mode().Type())
	}
	if err := checkPrivate(path, info, "chmod 600"); err != nil {
		return true, err
	}
	return true, checkAccess(path, unix.R_OK|unix.W_OK)
}

func checkPrivate(path string, info fs.FileInfo, cure string) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%w: the owner of %s cannot be told on this system", ErrFolder, path)
	}
	if uid := os.Geteuid(); int64(stat.Uid) != int64(uid) {
		return fmt.Errorf("%w: %s belongs to the user with id %d, and this process runs as %d; "+
			"run it as the owner, or give the folder and its files to the user it runs as", ErrFolder, path, stat.Uid, uid)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s is open to other users (mode %04o); make sure that nobody else needs it, then %s %s",
			ErrFolder, path, mode, cure, path)
	}
	return nil
}

// refusal turns what the system said, of a folder or of a file in it, into what to do
// about it.
func refusal(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		// People look for room on a disk, and know it by the folder.
		if info, stat := os.Lstat(path); stat != nil || !info.IsDir() {
			path = filepath.Dir(path)
		}
		return fmt.Errorf("%w: %w; make room on the disk of %s", vault.ErrFull, err, path)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: the disk of %s is mounted read-only; mount it for writing, or name another folder",
			ErrFolder, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: this process (user id %d) may not read and write %s; "+
			"check the permissions of the folder, of what is in it, and of the folders above", ErrFolder, os.Geteuid(), path)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %s runs through something that is not a folder; name another", ErrFolder, path)
	}
	return fmt.Errorf("%w: %s: %w", ErrFolder, path, err)
}

// syncFolder makes the entries of a folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := folder.Sync(); err != nil {
		return errors.Join(fmt.Errorf("flush the folder %s: %w", path, err), folder.Close())
	}
	return folder.Close()
}
