package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spiffe/spike/app/pilot/internal/cli"
)

// run writes the pages into the folders cli and man of the folder that is named,
// and removes those of commands that are gone.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: reference FOLDER")
	}
	files, err := pages(cli.New(cli.Deps{}))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		folder = filepath.Join(args[0], folder)
		if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // documentation is for everyone
			return err
		}
		// Only what is called as a page is: a wrong folder must not lose its files.
		older, err := filepath.Glob(filepath.Join(folder, "spike*.[m1]*"))
		if err != nil {
			return err
		}
		for _, page := range older {
			if err := os.Remove(page); err != nil { //nolint:gosec // whoever runs it names the folder
				return err
			}
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), content, 0o644); err != nil { //nolint:gosec // documentation is for everyone
			return err
		}
	}
	return nil
}
