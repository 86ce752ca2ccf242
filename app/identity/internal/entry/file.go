package entry

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// maxFileSize is far above what maxEntries can fill.
	maxFileSize = 1 << 20

	// maxLinks is how many symbolic links the kernel follows, too.
	maxLinks = 40
)

// readFile reads a file that nobody but root, our own user and the file's group can
// have written, or can put another in the place of.
func readFile(name string) ([]byte, error) {
	if err := checkPlaces(name); err != nil {
		return nil, err
	}
	// Opening a FIFO would wait for a writer for ever, so look first.
	if info, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	// Nothing is lost by a failed close of what was only read.
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("%s: every user may write this file, and so give itself any identity; run: chmod o-w %s", name, name)
	}
	// Whoever owns a file may write it whatever its mode says.
	if uid, ok := foreign(info); ok {
		return nil, fmt.Errorf("%s: it belongs to uid %d, who could give any identity to anyone with it; use a copy of your own, or run: chown %d %s",
			name, uid, os.Geteuid(), name)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("%s: the file is larger than %d bytes", name, maxFileSize)
	}
	return content, nil
}

// checkPlaces refuses a name that someone else could lead to another file: by its
// folder, or by a symbolic link on the way. Folders further up are not looked at:
// a file that is put there instead must still be one of root's or ours.
func checkPlaces(name string) error {
	for at, links := name, 0; ; links++ {
		// Not filepath.Dir, which takes x/.. out even where x is a link to elsewhere.
		folder, base := filepath.Split(at)
		folder, err := filepath.EvalSymlinks(cmp.Or(folder, "."))
		if err != nil {
			return fmt.Errorf("read entries: %w", err)
		}
		info, err := os.Stat(folder)
		if err != nil {
			return fmt.Errorf("read entries: %w", err)
		}
		if uid, ok := foreign(info); ok {
			return fmt.Errorf("%s: its folder %s belongs to uid %d, who could put another file in its place; use a copy in a folder of your own",
				name, folder, uid)
		}
		// With the sticky bit, nobody can take away or rename another's file.
		if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("%s: every user may write its folder, and so put another file in its place; run: chmod o-w %s", name, folder)
		}
		if info, err = os.Lstat(filepath.Join(folder, base)); err != nil {
			return fmt.Errorf("read entries: %w", err)
		}
		if info.Mode().Type() != fs.ModeSymlink {
			return nil
		}
		if uid, ok := foreign(info); ok {
			return fmt.Errorf("%s: the symbolic link %s belongs to uid %d, who could point it elsewhere; name the file itself", name, at, uid)
		}
		if links == maxLinks {
			return fmt.Errorf("%s: more than %d symbolic links follow one another", name, maxLinks)
		}
		target, err := os.Readlink(at)
		if err != nil {
			return fmt.Errorf("read entries: %w", err)
		}
		if at = target; !filepath.IsAbs(at) {
			at = folder + "/" + target
		}
	}
}

// foreign returns the owner who is neither root nor this process's own user. Those
// two could be given every identity anyway.
func foreign(info fs.FileInfo) (uid uint32, is bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return math.MaxUint32, true
	}
	return stat.Uid, stat.Uid != 0 && int(stat.Uid) != os.Geteuid()
}
