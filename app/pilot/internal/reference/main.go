// Command reference writes Pilot's reference, Markdown and man pages, from the
// commands themselves. It is a program of its own so that what renders the pages
// is no part of spike. In app/pilot: go generate
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spiffe/spike/app/pilot/internal/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// run replaces the folders cli and man in the folder that is named.
func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: reference FOLDER")
	}
	files, err := pages(cli.New(cli.Deps{}))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		// The page of a command that is gone must go, too.
		if err := os.RemoveAll(filepath.Join(args[0], folder)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(args[0], folder), 0o755); err != nil { //nolint:gosec // documentation is for everyone
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), content, 0o644); err != nil { //nolint:gosec // documentation is for everyone
			return err
		}
	}
	return nil
}
