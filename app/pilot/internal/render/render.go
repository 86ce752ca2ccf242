// Package render writes answers for people and for programs.
package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/spike/internal/api"
)

// Style is what the place can show that text is written to. The zero value
// fits everywhere.
type Style struct {
	Color bool
	Width int // in characters; 0 is no limit
}

// Color is how a word is set off on a terminal.
type Color string

// The colors, by what they say rather than by how they look.
const (
	Plain Color = ""
	Good  Color = "32" // green
	Doubt Color = "33" // yellow
	Bad   Color = "31" // red
	Name  Color = "1"  // bold
)

// Paint returns text in a color where there are any.
func (s Style) Paint(c Color, text string) string {
	if !s.Color || c == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Clean makes what could steer a terminal visible instead, but for tabs.
func Clean(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r != '\t' && !unicode.IsPrint(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// Sentence makes a sentence of a reason. What it begins with stays as it is unless it
// is a plain word: a name or a flag would be another one with a capital.
func Sentence(s string) string {
	if s == "" {
		return ""
	}
	word, _, _ := strings.Cut(s, " ")
	if !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLower(r) }) {
		first, size := utf8.DecodeRuneInString(s)
		s = string(unicode.ToUpper(first)) + s[size:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// Values writes a secret for people, a key a line in the keys' order. A value of
// several lines follows its key, indented.
func Values(w io.Writer, style Style, values api.Values) error {
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, name := values[key], style.Paint(Name, Clean(key))
		if !strings.Contains(value, "\n") {
			fmt.Fprintf(&out, "%s: %s\n", name, Clean(value))
			continue
		}
		fmt.Fprintf(&out, "%s:\n", name)
		for line := range strings.SplitSeq(strings.TrimSuffix(value, "\n"), "\n") {
			fmt.Fprintf(&out, "  %s\n", Clean(strings.TrimSuffix(line, "\r")))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Lines writes names, one a line.
func Lines(w io.Writer, names []string) error {
	var out strings.Builder
	for _, name := range names {
		out.WriteString(Clean(name))
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Tree writes sorted paths as the folders that their slashes make. What is both
// a secret and a folder is there twice, as "a" and as "a/".
func Tree(w io.Writer, style Style, paths []string) error {
	var out strings.Builder
	for len(paths) > 0 {
		var name string
		var below []string
		name, below, paths = split(paths)
		fmt.Fprintln(&out, node(style, name))
		branch(&out, style, below, "")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// branch writes what is in a folder, below it.
func branch(out *strings.Builder, style Style, paths []string, indent string) {
	for len(paths) > 0 {
		var name string
		var below []string
		name, below, paths = split(paths)
		fork, deeper := "├── ", "│   "
		if len(paths) == 0 {
			fork, deeper = "└── ", "    "
		}
		fmt.Fprintln(out, indent+fork+node(style, name))
		branch(out, style, below, indent+deeper)
	}
}

// split takes the first name off sorted paths: a secret, or a folder with what
// is below it. Since they are sorted, all of a folder is together.
func split(paths []string) (name string, below, rest []string) {
	name, _, folder := strings.Cut(paths[0], "/")
	if !folder {
		return name, nil, paths[1:]
	}
	name += "/"
	n := 0
	for n < len(paths) && strings.HasPrefix(paths[n], name) {
		below = append(below, paths[n][len(name):])
		n++
	}
	return name, below, paths[n:]
}

func node(style Style, name string) string {
	if strings.HasSuffix(name, "/") {
		return style.Paint(Name, Clean(name))
	}
	return Clean(name)
}

// Count writes a number of things: "1 Keeper", "2 Keepers".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
