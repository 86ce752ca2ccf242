package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// The image has in made what a build would put at to.
const (
	made = "/made"
	to   = "/src/bin/image"
)

// run does what the build stage's RUN line says, as a shell is asked to.
func run(args []string) error {
	if !slices.Equal(args, []string{"-c", "scripts/build && scripts/compose stage"}) {
		return fmt.Errorf("%q is not what it can do", args)
	}
	// They must be where they are called.
	for _, script := range []string{"scripts/build", "scripts/compose"} {
		if info, err := os.Stat(script); err != nil || info.Mode()&0o111 == 0 {
			return fmt.Errorf("%s cannot be run: %w", script, err)
		}
	}
	if _, err := os.Stat("bin"); err == nil {
		return errors.New("bin came from outside, and may be anything")
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(made, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := to + name[len(made):]
		if entry.IsDir() {
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm())
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, info.Mode().Perm())
	})
}
