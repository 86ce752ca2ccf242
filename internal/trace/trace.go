// Package trace looks for secrets where none may be: in files, in core files, and
// in the memory of processes. It is for tests and drills; no program links it.
package trace

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Set is what is looked for, each in every form in which programs write bytes
// down. The zero Set looks for nothing.
type Set struct {
	forms []form
}

type form struct {
	name, how string
	bytes     []byte
}

// The forms that are handled in memory, and not only written.
const (
	AsItIs   = "it is"
	Reversed = "it is, the last byte first" // as words of arithmetic on this machine
	InJSON   = "numbers in JSON"
)

// Add looks for content, which is called name from now on. The Set keeps copies.
func (s *Set) Add(name string, content []byte) {
	put := func(how string, b []byte) { s.forms = append(s.forms, form{name, how, b}) }
	put(AsItIs, bytes.Clone(content))
	reversed := bytes.Clone(content)
	slices.Reverse(reversed)
	put(Reversed, reversed)
	put("hex", []byte(hex.EncodeToString(content)))
	put("capital hex", []byte(strings.ToUpper(hex.EncodeToString(content))))
	put(InJSON, list(content, ","))
	put("numbers in JSON with spaces", list(content, ", "))
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

// Found is something that was looked for, and the form that it was found in.
type Found struct {
	Name, How string
}

// String says both.
func (f Found) String() string { return f.Name + " as " + f.How }

// In returns what is found in content, and how often.
func (s *Set) In(content []byte) map[Found]int {
	found := map[Found]int{}
	for _, f := range s.forms {
		if n := bytes.Count(content, f.bytes); n > 0 {
			found[Found{f.name, f.how}] += n
		}
	}
	return found
}

// InFolder looks into every file of a folder, and at their names. It returns a
// sentence for each find, and how many files there are. It is an error when there is
// none: nothing was looked for then.
func (s *Set) InFolder(folder string) (all []string, files int, err error) {
	err = filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		content := []byte(name)
		if entry.Type().IsRegular() {
			b, err := os.ReadFile(name) //nolint:gosec // whoever looks names the folder
			if err != nil {
				return err
			}
			content = append(append(content, 0), b...)
			files++
		}
		for found := range s.In(content) {
			all = append(all, fmt.Sprintf("%s has %s", name, found))
		}
		return nil
	})
	if err == nil && files == 0 {
		err = fmt.Errorf("%s: %w", folder, errNoFile)
	}
	slices.Sort(all)
	return all, files, err
}

var errNoFile = errors.New("there is no file to look into")

// InTar is InFolder for an archive, as container engines give folders out; what it is
// of is called name. One without files is none to complain of: a volume can be empty.
func (s *Set) InTar(name string, archive io.Reader) (all []string, files int, err error) {
	in := tar.NewReader(archive)
	for {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(all)
			return all, files, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", name, err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %s: %w", name, head.Name, err)
		}
		for found := range s.In(append([]byte(head.Name+"\x00"), b...)) {
			all = append(all, fmt.Sprintf("%s: %s has %s", name, head.Name, found))
		}
		if head.Typeflag == tar.TypeReg {
			files++
		}
	}
}
