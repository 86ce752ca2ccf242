// Package newfile makes a file that is there whole or not at all.
package newfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrExists means that there is something under that name already.
var ErrExists = errors.New("there is a file already")

// ErrUnsettled means that the file has its name and is whole, and that a loss of
// power could still take the name away.
var ErrUnsettled = errors.New("the file is there, but its name may not be on disk yet")

// partSuffix is the end of the name of a file in the making.
const partSuffix = ".part"

// File is a file in the making, beside the place that it is to take. Its maker
// calls Abort in any case; after Commit that does nothing.
type File struct {
	*os.File
	path    string
	replace bool
	done    bool
}

// Create begins a file for this user alone. With replace, it may take the place of
// another plain file.
func Create(path string, replace bool) (*File, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a plain file; name another", path)
	case !replace:
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	}
	// Its mode is 0600, whatever the umask.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+partSuffix)
	var made *fs.PathError
	if errors.As(err, &made) {
		// Its maker does not know of that name, and it is the folder that is not fit.
		err = &fs.PathError{Op: made.Op, Path: filepath.Dir(path), Err: made.Err}
	}
	if err != nil {
		return nil, err
	}
	return &File{File: f, path: path, replace: replace}, nil
}

// Aside is the end of a name that the maker of several files gives to what was there
// before, until all of them have their names.
const Aside = ".older"

// Aside returns that name.
func (f *File) Aside() string { return f.Name() + Aside }

// Leftovers returns what is beside path of files in the making: those of makers that
// were killed, and of any that is at work now. A folder that cannot be looked into
// has none that anybody could be told of.
func Leftovers(path string) (files []string, err error) {
	folder, err := os.Stat(filepath.Dir(path))
	var entries []fs.DirEntry
	if err == nil {
		entries, err = os.ReadDir(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		random, begun := strings.CutPrefix(e.Name(), "."+filepath.Base(path)+".")
		random, part := strings.CutSuffix(strings.TrimSuffix(random, Aside), partSuffix)
		if begun && part && random != "" && strings.Trim(random, "0123456789") == "" && e.Type().IsRegular() {
			// One that cannot be looked at is gone by now.
			if info, err := e.Info(); err == nil && ours(info, folder, os.Geteuid()) {
				files = append(files, filepath.Join(filepath.Dir(path), e.Name()))
			}
		}
	}
	return files, nil
}

// ours says whether a file can be what this user's program has left. Where anybody
// may make files, somebody else could name one so that he is told to shred it, or to
// move it into the place. The folder's owner has no need of that, and on media without
// owners every file is his.
func ours(file, folder fs.FileInfo, user int) bool {
	f, known := file.Sys().(*syscall.Stat_t)
	d, also := folder.Sys().(*syscall.Stat_t)
	return known && also && (int(f.Uid) == user || f.Uid == d.Uid)
}

// Commit makes what was written durable and gives it its name. After any error but
// [ErrUnsettled] it has none.
func (f *File) Commit() error { return f.commit(syncFolder) }

func (f *File) commit(syncFolder func(string) error) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := f.rename(); err != nil {
		return err
	}
	f.done = true
	if err := syncFolder(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// rename does not replace what came to be there meanwhile, unless it may.
func (f *File) rename() error {
	if f.replace {
		return os.Rename(f.Name(), f.path)
	}
	err := unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, f.path, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %s", ErrExists, f.path)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		// Not every file system can; then Create's look must do.
		return os.Rename(f.Name(), f.path)
	case err != nil:
		return &os.LinkError{Op: "rename", Old: f.Name(), New: f.path, Err: err}
	}
	return nil
}

// Abort removes the file unless it was committed.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	err := f.Close()
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(f.Name()))
}
