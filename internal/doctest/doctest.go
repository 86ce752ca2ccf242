// Package doctest runs the commands that documentation shows. In a page:
//
//	sh          is a command for bash; a page's commands run in one shell, in order
//	sh compose  is one for the cluster in containers, and runs apart from those
//	output      is what the commands before it print; … stands for anything in a
//	            line, and a line that is only … for any lines
//
// Spaces count as one. Every other kind of block is not run; one of no kind is
// refused, so that none escapes by a slip.
package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The kinds of blocks that can be run, each in an environment of its own.
const (
	Local   = "sh"
	Compose = "sh compose"
)

// block is a fenced block of a page.
type block struct {
	line int // of its fence, from 1
	kind string
	text string
}

func (b *block) runs() bool { return b.kind == Local || b.kind == Compose }

func blocks(text string) (list []block, err error) {
	var open *block
	number := 0
	for line := range strings.Lines(text) {
		number++
		kind, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && fence:
			open = &block{line: number, kind: kind}
		case open != nil && fence:
			list, open = append(list, *open), nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.line)
	}
	for i, b := range list {
		word, _, _ := strings.Cut(b.kind, " ")
		switch {
		case b.kind == "":
			return nil, fmt.Errorf("line %d: the block has no kind: sh, output, text, …", b.line)
		case word == Local && !b.runs():
			return nil, fmt.Errorf("line %d: nothing runs blocks of the kind %q", b.line, b.kind)
		case b.kind == "output" && (i == 0 || !list[i-1].runs()):
			return nil, fmt.Errorf("line %d: no command stands before this output", b.line)
		}
	}
	return list, nil
}

// Page is a page of the documentation.
type Page struct {
	Name, Text string
	// Kind is that of the blocks that are to be run.
	Kind string
	// Folder takes the outputs; it is the caller's, who removes it.
	Folder string
	// Bash runs "bash -eu" with a script, and returns its exit code and what bash
	// itself said.
	Bash func(script string) (code int, stderr string, err error)
	// Plain turns what commands printed into what a reader would see.
	Plain func(string) string
}

// Run runs a page's commands and returns what is wrong with them.
func Run(p Page) error {
	list, err := blocks(p.Text)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	var script strings.Builder
	for i, b := range list {
		if b.kind == p.Kind {
			fmt.Fprintf(&script, "exec >'%s/%d' 2>&1\n%s", p.Folder, i, b.text)
		}
	}
	file := filepath.Join(p.Folder, "page.sh")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		return err
	}
	code, stderr, err := p.Bash(file)
	if err != nil {
		return err
	}
	last, printed := -1, map[int]string{}
	for i, b := range list {
		content, err := os.ReadFile(filepath.Join(p.Folder, strconv.Itoa(i)))
		if b.kind == p.Kind && err == nil {
			last, printed[i] = i, p.Plain(string(content))
		}
	}
	if code != 0 {
		if last < 0 {
			return fmt.Errorf("%s: bash cannot read its commands: %s", p.Name, stderr)
		}
		return fmt.Errorf("%s:%d: the exit code is %d:\n%s\n%s", p.Name, list[last].line, code, list[last].text, printed[last])
	}
	for i, b := range list {
		if b.kind == "output" && list[i-1].kind == p.Kind && !matches(b.text, printed[i-1]) {
			return fmt.Errorf("%s:%d: this should be printed:\n%s\nand this was:\n%s", p.Name, b.line, b.text, printed[i-1])
		}
	}
	return nil
}

// Has reports whether a page has commands of a kind.
func Has(text, kind string) (bool, error) {
	list, err := blocks(text)
	for _, b := range list {
		if b.kind == kind {
			return true, err
		}
	}
	return false, err
}

func matches(want, got string) bool {
	var pattern strings.Builder
	for _, line := range Lines(want) {
		if line == "…" {
			pattern.WriteString(`(.*\n)*?`)
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern.WriteString(strings.Join(parts, ".*") + `\n`)
	}
	lines := strings.Join(Lines(got), "\n") + "\n"
	return regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(lines)
}

// Lines are the lines of a text with single spaces, without empty ones at its ends.
func Lines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}
