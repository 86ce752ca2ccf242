package composetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// withoutGo builds all images as the page says for those who have no Go, with a base
// image that has a stand-in for the compiler: what comes out is what scripts/compose
// makes.
func withoutGo(t *testing.T, s *Stack) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sh")
	s.compile(t, program, "./internal/composetest/fakeshell")
	must(t, exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(s.root, "bin", "image"), filepath.Join(dir, "made")).Run())
	// All that is made of it has its label, and goes with the cluster.
	file := "FROM scratch\nLABEL ist.spike.project=" + s.project + "\nCOPY sh /bin/sh\nCOPY made /made\n"
	must(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o600))
	base := s.project + "/base"
	s.docker(t, "build", "-q", "-t", base, dir)
	for _, program := range images() {
		image := s.project + "/multi-" + program
		s.docker(t, "build", "-q", "-f", "config/image/multi-stage.Dockerfile", "--build-arg", "GO="+base,
			"--target", program, "--label", "ist.spike.project="+s.project, "-t", image, ".")
		const config = "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.Env}}"
		got, want := s.docker(t, "image", "inspect", "-f", config, image), s.docker(t, "image", "inspect", "-f", config, s.project+"/"+program)
		if got != want {
			t.Errorf("%s is run as %s, and should as %s", program, got, want)
		}
		if got, want := s.files(t, image), s.files(t, s.project+"/"+program); !slices.Equal(got, want) {
			t.Errorf("%s has\n%s\nand should have\n%s", program, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		s.docker(t, "image", "rm", image)
	}
	s.docker(t, "image", "rm", base)
}

// files lists all of an image: names, modes, owners and digests.
func (s *Stack) files(t *testing.T, image string) (list []string) {
	t.Helper()
	s.exported(t, image, func(h *tar.Header, content io.Reader) {
		digest := sha256.New()
		_, err := io.Copy(digest, content)
		must(t, err)
		list = append(list, fmt.Sprintf("%s %o %d:%d %x", h.Name, h.Mode, h.Uid, h.Gid, digest.Sum(nil)))
	})
	return list
}

// exported calls visit for all that a container of an image would have.
func (s *Stack) exported(t *testing.T, image string, visit func(*tar.Header, io.Reader)) {
	t.Helper()
	id := s.docker(t, "create", "--label", "com.docker.compose.project="+s.project, image)
	defer s.docker(t, "rm", id)
	r, err := s.Run(t.Context(), nil, "docker", "export", id)
	must(t, err)
	for archive := tar.NewReader(bytes.NewReader([]byte(r.Stdout))); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		visit(h, archive)
	}
}
