package cli

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
)

// warnParts names what is left of files that were in the making when a run before was
// killed. It may be one that is at work now, so that nothing is removed here.
func (a *app) warnParts(paths ...string) error {
	var all []string
	for _, path := range paths {
		files, err := newfile.Leftovers(path)
		if err != nil {
			return err
		}
		for _, file := range files {
			if !slices.Contains(all, file) {
				all = append(all, file)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	var list, parts string
	older := false
	for _, file := range all {
		list += "\n  " + render.Clean(file)
		if strings.HasSuffix(file, newfile.Aside) {
			older = true
		} else {
			parts += " " + render.ShellWord(file)
		}
	}
	a.tell("Warning: when something was written here before, that was cut off. This was left:%s", list)
	if parts != "" {
		a.tell("If nothing else writes there now, remove it:\n  shred -u%s", parts)
	}
	if older {
		a.tell("What ends in %s was in the place before. When this has ended, move it back if nothing\nis there, and else remove it: it may be a recovery shard.", newfile.Aside)
	}
	return nil
}

// fileTrouble explains what the system said of a file, in words that are for people
// rather than for those who know its calls.
func fileTrouble(what string, err error) *Failure {
	f := &Failure{Code: Usage, What: what, Why: render.Sentence(err.Error()), Err: err}
	var file *fs.PathError
	if errors.As(err, &file) {
		f.Why = render.Clean(file.Path) + ": " + file.Err.Error() + "."
		switch {
		// The text of a file where its name belongs.
		case strings.ContainsFunc(file.Path, unicode.IsControl), errors.Is(err, syscall.ENAMETOOLONG):
			f.Why = "What was given is not the name of a file: " + file.Err.Error() + "."
			return f
		case errors.Is(err, fs.ErrNotExist):
			f.Why = "There is no file or folder " + render.Clean(file.Path) + "."
		}
	}
	switch {
	case errors.Is(err, newfile.ErrExists):
		f.Code = Conflict
		f.Next = []string{"Name another file, or, if that one is not needed any more: --force"}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		f.Code = Failed // a disk's trouble, which is not in the command line
	}
	return f
}

// uncommitted is for a file that did not come to its end. One that has its name is
// there, whatever failed after that.
func uncommitted(nothing, made, path string, err error) error {
	if !errors.Is(err, newfile.ErrUnsettled) {
		return fileTrouble(nothing, err)
	}
	return &Failure{
		Code: Failed, What: made + ", but a loss of power could undo it.", Why: render.Sentence(err.Error()), Err: err,
		Next: []string{
			"The file is whole and can be used: " + render.Clean(path),
			"Once the disk is in order, write its folder to it: sync",
		},
	}
}
