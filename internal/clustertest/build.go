package clustertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root returns the top folder of the checkout that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no folder above the working directory has a go.work")
}

// Build builds the programs into folder, as they are shipped, or with build tags
// such as "failpoint", at which a Nexus can be made to end at a chosen place.
func Build(ctx context.Context, folder, tags string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	args := []string{"--to", folder}
	if tags != "" {
		args = append(args, "--tags", tags)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "build"), args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("scripts/build: %w\n%s", err, output)
	}
	return nil
}

// Files lists what a commit of the working state of the checkout root would have.
func Files(ctx context.Context, root string) (names []string, err error) {
	cmd := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "-C", root,
		"ls-files", "-z", "--cached", "--others", "--exclude-standard")
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(output), "\x00"), "\x00") {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}
