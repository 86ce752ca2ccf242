// Package infile opens the files that arguments name. Its errors do not repeat a
// name: what is no file's may be the very secret that was to be in one.
package infile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrFolder means that the name is a folder's.
var ErrFolder = errors.New("it is a folder")

// Open opens a file for reading. Behind a file that is open, its name is known to
// be one, and errors may have it.
func Open(name string) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = ErrFolder
	}
	if err != nil {
		return nil, errors.Join(reason(err), file.Close())
	}
	return file, nil
}

// reason is what the system says, without the name.
func reason(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) {
		return fmt.Errorf("it cannot be opened: %w", named.Err)
	}
	return err
}
