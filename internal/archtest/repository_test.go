package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

func TestImportsOfTheRepository(t *testing.T) {
	t.Parallel()
	for _, tags := range []string{"", "failpoint"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", tags,
			"-json=ImportPath,Name,Imports,TestImports,XTestImports,Deps", "work")
		cmd.Dir = root
		workspace, err := filepath.Abs(filepath.Join(root, "go.work"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Environ(), "GOWORK="+workspace)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, stderr.String())
		}
		var packages []Package
		for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
			var p Package
			err := decoder.Decode(&p)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			packages = append(packages, p)
		}
		if len(packages) < 10 {
			t.Fatalf("go list found %d packages", len(packages))
		}
		report(t, Imports(packages))
	}
}

// files lists what is in a commit of the working state.
func files(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z",
		"--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var names []string
	for name := range strings.SplitSeq(string(output), "\x00") {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	if len(names) < 50 {
		t.Fatalf("git ls-files found %d files", len(names))
	}
	return names
}

func TestFilesOfTheRepository(t *testing.T) {
	t.Parallel()
	names := files(t)
	report(t, Layout(names))
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		report(t, Text(name, content))
		if strings.HasSuffix(name, ".go") {
			report(t, Source(name, content))
		}
	}
}
