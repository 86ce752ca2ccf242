package paper

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
)

var (
	// ErrCount means that there are not as many places as shards.
	ErrCount = errors.New("not a place for each shard")
	// ErrTwice means that two places are the same file.
	ErrTwice = errors.New("a file is named twice")
)

// Places has a file in the making for each shard of a set, so that each can be on a
// medium of its own. Its maker calls Abort in any case.
type Places []*place

type place struct {
	file  *newfile.File
	path  string
	older fs.FileInfo // what the file takes the place of; nil for nothing
	moved bool        // older is aside
	named bool        // the shard is in its place
}

// Reserve begins a file beside each of the names, which shows that all can be written
// before there is anything to write. With force, they may be older files.
func Reserve(paths []string, force bool) (all Places, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, all.Abort())
			all = nil
		}
	}()
	for _, path := range paths {
		if err := all.reserve(path, force); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (all *Places) reserve(path string, force bool) error {
	folder := filepath.Dir(path)
	if err := checkParent(folder); err != nil {
		return err
	}
	for _, other := range *all {
		if filepath.Base(other.path) == filepath.Base(path) && sameFolder(filepath.Dir(other.path), folder) {
			return fmt.Errorf("%w: %s", ErrTwice, path)
		}
	}
	older, err := os.Lstat(path)
	if err != nil {
		older = nil // Create says what is wrong, if anything is
	}
	file, err := newfile.Create(path, force && older != nil)
	if err != nil {
		return err
	}
	*all = append(*all, &place{file: file, path: path, older: older})
	return nil
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

// Abort removes what is not in its place.
func (all Places) Abort() error {
	var failed error
	for _, p := range all {
		if err := p.file.Abort(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%w in %s: %w", ErrLeft, p.file.Name(), err))
		}
	}
	return failed
}

// Write puts the shards into the places, in the order of their indexes. It returns
// whether the whole set is there; an error says then what could not be done after
// that. If it is not, every place is as it was, unless the error is [ErrLeft].
func (all Places) Write(set *Set) (written bool, err error) {
	if err := set.Check(); err != nil {
		return false, err
	}
	if len(set.Shards) != len(all) {
		return false, fmt.Errorf("%w: there are %d shards, and %d files", ErrCount, len(set.Shards), len(all))
	}
	// A disk that is full shows before any shard has its name.
	for i, index := range slices.Sorted(maps.Keys(set.Shards)) {
		page := set.page(index)
		_, err := all[i].file.Write(page)
		clear(page)
		if err == nil {
			err = all[i].file.Sync()
		}
		if err != nil {
			return false, err
		}
	}
	var unsettled error
	for _, p := range all {
		err := p.take()
		if errors.Is(err, newfile.ErrUnsettled) {
			unsettled = errors.Join(unsettled, err)
			continue
		}
		if err != nil {
			return false, errors.Join(err, all.undo())
		}
	}
	for _, p := range all {
		if !p.moved {
			continue
		}
		if err := os.Remove(p.file.Aside()); err != nil {
			unsettled = errors.Join(unsettled, fmt.Errorf("%w in %s: %w", ErrLeft, p.file.Aside(), err))
		}
	}
	return true, unsettled
}

// take moves an older file aside, which is still needed if another place fails, and
// gives the new one its name.
func (p *place) take() error {
	if p.older != nil {
		now, err := os.Lstat(p.path)
		if err != nil {
			return err
		}
		// On some media two names are one file: it would take the place of a shard.
		if !os.SameFile(p.older, now) {
			return fmt.Errorf("%s was changed by another program, or is named twice", p.path)
		}
		if err := os.Rename(p.path, p.file.Aside()); err != nil {
			return err
		}
		p.moved = true
	}
	err := p.file.Commit()
	p.named = err == nil || errors.Is(err, newfile.ErrUnsettled)
	return err
}

// undo takes the shards out of their places again, and puts what was there back.
func (all Places) undo() error {
	var failed error
	for _, p := range all {
		if p.named {
			if err := os.Remove(p.path); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%w in %s: %w", ErrLeft, p.path, err))
				continue
			}
		}
		if p.moved {
			if err := os.Rename(p.file.Aside(), p.path); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%w in %s: %w", ErrLeft, p.file.Aside(), err))
			}
		}
	}
	return failed
}
