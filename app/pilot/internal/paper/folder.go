package paper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

var (
	// ErrOlderSet means that the folder has recovery shards already.
	ErrOlderSet = errors.New("the folder has recovery shards already")
	// ErrFolder means that the folder is no place for shards.
	ErrFolder = errors.New("the folder cannot take recovery shards")
	// ErrLeft means that there are shards now in another place as well; see [Leftovers].
	ErrLeft = errors.New("shards were left")
)

// fileName is what a set's files are called. Anything else in a folder is
// someone's, and not replaced.
var fileName = regexp.MustCompile(`^shard-[0-9]{1,3}\.txt$`)

// CheckFolder says whether a set can be written to dir: a folder that does not
// exist, is empty, or, with force, has an older set and nothing else. A set
// takes the place of the whole folder, so that there is never half of one.
func CheckFolder(dir string, force bool) error {
	if err := checkParent(filepath.Dir(dir)); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFolder, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link; name the folder itself", ErrFolder, dir)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a folder", ErrFolder, dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: others may look into %s (mode %04o); run: chmod 700 %s",
			ErrFolder, dir, info.Mode().Perm(), dir)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to uid %d, and this program runs as uid %d",
			ErrFolder, dir, owner.Uid, os.Geteuid())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFolder, err)
	}
	shards := 0
	for _, e := range entries {
		if !e.Type().IsRegular() || !fileName.MatchString(e.Name()) {
			return fmt.Errorf("%w: %s has other things in it, such as %q; name a folder for the shards alone",
				ErrFolder, dir, e.Name())
		}
		shards++
	}
	if shards > 0 && !force {
		return fmt.Errorf("%w: %s has %d of them", ErrOlderSet, dir, shards)
	}
	return nil
}

// checkParent refuses a parent in which anybody could put another folder in the
// place of ours.
func checkParent(parent string) error {
	info, err := os.Stat(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it will be made, for its owner alone
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%w: anybody may rename things in %s (mode %04o)", ErrFolder, parent, info.Mode().Perm())
	}
	return nil
}

// replace puts the folder fresh in the place of dir, and returns where what was
// there is now, if there was something. A crash between its steps leaves whole
// folders only, which [Leftovers] finds.
func replace(fresh, dir string) (older string, err error) {
	if entries, err := os.ReadDir(dir); err == nil {
		if len(entries) > 0 {
			older = fresh + olderSuffix
			err = os.Rename(dir, older)
		} else {
			err = os.Remove(dir)
		}
		if err != nil {
			return "", renameError(dir, err)
		}
	}
	if err := os.Rename(fresh, dir); err != nil {
		err = renameError(dir, err)
		if older != "" {
			if back := os.Rename(older, dir); back != nil {
				err = fmt.Errorf("%w; the older set is in %s now: %w", err, older, back)
			}
		}
		return "", err
	}
	return older, nil
}

// settle does what is left to do once a set is in its place.
func settle(dir, older string, syncFolder func(string) error) error {
	parent := filepath.Dir(dir)
	if err := syncFolder(parent); err != nil {
		err = fmt.Errorf("the folder %s may not be on disk yet, and a loss of power could undo it: %w", parent, err)
		if older != "" {
			err = fmt.Errorf("%w; %w in %s", err, ErrLeft, older) // it is the one that is surely on disk
		}
		return err
	}
	if older == "" {
		return nil
	}
	if err := os.RemoveAll(older); err != nil {
		return fmt.Errorf("the older set could not be removed: %w in %s: %w", ErrLeft, older, err)
	}
	return nil
}

// begun is the pattern of what a set that is being written is called, beside dir.
func begun(dir string) string { return "." + filepath.Base(dir) + ".new-" }

// olderSuffix is what an older set is called while the new one takes its place.
const olderSuffix = ".older"

// Leftovers returns the folders that were left behind when the writing of a set to
// dir was cut off. There are shards in them. They can also be those of another
// program that is writing now, so they are for a person to remove.
func Leftovers(dir string) (folders []string, err error) {
	parent := filepath.Dir(dir)
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	for _, e := range entries {
		random, ok := strings.CutPrefix(e.Name(), begun(dir))
		random = strings.TrimSuffix(random, olderSuffix)
		if ok && e.IsDir() && random != "" && strings.Trim(random, "0123456789") == "" {
			folders = append(folders, filepath.Join(parent, e.Name()))
		}
	}
	return folders, nil
}

// renameError explains the one case that looks like a permission problem and is
// none: a folder that is a mount point cannot be replaced.
func renameError(dir string, err error) error {
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("%w: %s is a mount point; name a folder inside it: %w", ErrFolder, dir, err)
	}
	return fmt.Errorf("%w: %w", ErrFolder, err)
}

// syncFolder makes the names in a folder durable, as f.Sync does its content.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
