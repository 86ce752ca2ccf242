package torture

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// traces are what may be nowhere, each in every form in which programs write
// bytes down.
type traces struct {
	forms []form
}

type form struct {
	name  string
	bytes []byte
}

// add looks for content, which is called name from now on.
func (s *traces) add(name string, content []byte) {
	put := func(how string, b []byte) { s.forms = append(s.forms, form{name + " as " + how, b}) }
	put("it is", content)
	put("hex", []byte(hex.EncodeToString(content)))
	put("capital hex", []byte(strings.ToUpper(hex.EncodeToString(content))))
	put("numbers in JSON", list(content, ","))
	put("numbers in Go", list(content, " "))
	put("bytes in Go", fmt.Appendf(nil, "%#v", content)[len("[]byte{"):5*len(content)])
	wide := make([]byte, 0, 2*len(content))
	for _, unit := range utf16.Encode([]rune(string(content))) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	put("UTF-16", wide)
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// What surrounds the content decides about the characters at its ends.
		for before := range 3 {
			text := encoding.EncodeToString(append(make([]byte, before), content...))
			first, last := (before*8+5)/6, (before+len(content))*8/6
			put("base64", []byte(text[first:last]))
		}
	}
}

func list(content []byte, separator string) []byte {
	var text []byte
	for i, b := range content {
		if i > 0 {
			text = append(text, separator...)
		}
		text = fmt.Append(text, b)
	}
	return text
}

// in returns the names of what is found in text.
func (s *traces) in(text []byte) []string {
	var found []string
	for _, f := range s.forms {
		if bytes.Contains(text, f.bytes) {
			found = append(found, f.name)
		}
	}
	return found
}

// inFolder looks into every file of a folder, and at their names.
func (s *traces) inFolder(folder string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		content := []byte(name)
		if entry.Type().IsRegular() {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			content = append(append(content, 0), b...)
		}
		for _, what := range s.in(content) {
			found = append(found, fmt.Sprintf("%s has %s", name, what))
		}
		return nil
	})
	return found, err
}

// TestTraces hides a trace in each form, and wants it found.
func TestTraces(t *testing.T) {
	secret := []byte("K\x00\xffvery~secret\x80 thing?")
	var s traces
	s.add("it", secret)
	for name, text := range map[string]string{
		"it is":           string(secret),
		"hex":             fmt.Sprintf("%x", secret),
		"capital hex":     fmt.Sprintf("%X", secret),
		"numbers in Go":   fmt.Sprint(secret),
		"numbers in JSON": strings.ReplaceAll(fmt.Sprint(secret), " ", ","),
		"bytes in Go":     fmt.Sprintf("%#v", secret),
		"base64":          base64.StdEncoding.EncodeToString(secret),
	} {
		if found := s.in([]byte("before " + text + " after")); len(found) == 0 || !strings.Contains(fmt.Sprint(found), name) {
			t.Errorf("%s: found %q", name, found)
		}
	}
	for before := range 3 {
		for after := range 3 {
			for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				hidden := strings.Repeat("b", before) + string(secret) + strings.Repeat("a", after)
				if found := s.in([]byte(encoding.EncodeToString([]byte(hidden)))); len(found) == 0 {
					t.Errorf("not found in base64 with %d bytes before and %d after", before, after)
				}
			}
		}
	}
	if found := s.in([]byte("nothing here")); len(found) > 0 {
		t.Errorf("found %q in nothing", found)
	}
	folder := t.TempDir()
	must(t, os.WriteFile(filepath.Join(folder, "file"), secret, 0o600))
	if found, err := s.inFolder(folder); err != nil || len(found) != 1 {
		t.Errorf("found %q, %v in a file", found, err)
	}
}
