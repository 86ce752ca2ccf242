package trace_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/trace"
)

// TestForms hides a secret in each form, and wants it found.
func TestForms(t *testing.T) {
	secret := []byte("K\x00\xffvery~secret\x80 thing?")
	var s trace.Set
	s.Add("it", secret)
	for name, text := range map[string]string{
		"it is":           string(secret),
		"hex":             fmt.Sprintf("%x", secret),
		"capital hex":     fmt.Sprintf("%X", secret),
		"numbers in Go":   fmt.Sprint(secret),
		"numbers in JSON": strings.ReplaceAll(fmt.Sprint(secret), " ", ","),
		"bytes in Go":     fmt.Sprintf("%#v", secret),
		"base64":          base64.StdEncoding.EncodeToString(secret),
	} {
		if found := s.In([]byte("before " + text + " after")); found[trace.Found{Name: "it", How: name}] == 0 {
			t.Errorf("%s: found %v", name, found)
		}
	}
	for before := range 3 {
		for after := range 3 {
			for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				hidden := strings.Repeat("b", before) + string(secret) + strings.Repeat("a", after)
				if found := s.In([]byte(encoding.EncodeToString([]byte(hidden)))); len(found) == 0 {
					t.Errorf("not found in base64 with %d bytes before and %d after", before, after)
				}
			}
		}
	}
	if found := s.In([]byte("nothing here")); len(found) > 0 {
		t.Errorf("found %v in nothing", found)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "file"), secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, files, err := s.InFolder(folder); err != nil || len(found) != 1 || files != 1 {
		t.Errorf("found %q, %v in a file", found, err)
	}
	// What is looked for in nothing is not found, which says nothing.
	for _, nothing := range []string{filepath.Join(folder, "no such"), t.TempDir()} {
		if _, _, err := s.InFolder(nothing); err == nil {
			t.Errorf("it is no error to look into %s", nothing)
		}
	}
	var archive bytes.Buffer
	out := tar.NewWriter(&archive)
	if err := out.AddFS(os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	whole := archive.Bytes()
	if found, files, err := s.InTar("volume", bytes.NewReader(whole)); err != nil || files != 1 || len(found) != 1 || found[0] != "volume: file has it as it is" {
		t.Errorf("in an archive: %q, %d files, %v", found, files, err)
	}
	if _, _, err := s.InTar("volume", bytes.NewReader(whole[:520])); err == nil {
		t.Error("an archive that was cut is taken")
	}
}
