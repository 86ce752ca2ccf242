package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/spiffe/spike/app/pilot/internal/nearest"
)

// Text is a value with the place that it has in a file. One that is not there has
// the line 0.
type Text struct {
	Value string
	Line  int
}

// reader takes YAML apart by hand rather than into structures: the library's own
// errors speak of Go types, end at the first, and have no place for a hint.
type reader struct {
	file     string
	lines    [][]byte
	problems []Problem
}

func (r *reader) complain(line int, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, What: fmt.Sprintf(format, args...), Hint: hint})
}

// syntaxError is what the library says of a file: there is no type for it.
var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// documents returns the content of each document, and leaves out empty ones. Each
// is read by itself, so that a mistake in one does not hide those in the others.
func (r *reader) documents(content []byte) (roots []*yaml.Node) {
	r.lines = bytes.SplitAfter(content, []byte("\n"))
	begin, directives := 0, false
	for i, line := range r.lines {
		// Markers stand at the beginning of a line, where no text of a document can.
		switch first, _, _ := bytes.Cut(line, []byte(" ")); string(bytes.TrimRight(first, "\t\r\n")) {
		case "---":
			// Directives above it belong to the document below.
			if !directives {
				roots = append(roots, r.some(begin, i)...)
				begin = i
			}
			directives = false
		case "...":
			roots = append(roots, r.some(begin, i)...)
			begin, directives = i+1, false
		default:
			directives = directives || bytes.HasPrefix(line, []byte("%"))
		}
	}
	return append(roots, r.some(begin, len(r.lines))...)
}

// some reads the lines from begin to end.
func (r *reader) some(begin, end int) (roots []*yaml.Node) {
	d := yaml.NewDecoder(bytes.NewReader(bytes.Join(r.lines[begin:end], nil)))
	for {
		var document yaml.Node
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return roots
		}
		if err != nil {
			r.syntax(begin, err)
			return roots
		}
		if len(document.Content) == 1 && document.Content[0].Tag != "!!null" {
			shift(document.Content[0], begin)
			roots = append(roots, document.Content[0])
		}
	}
}

// shift makes lines of a part those of the file.
func shift(n *yaml.Node, by int) {
	n.Line += by
	for _, inner := range n.Content {
		shift(inner, by)
	}
}

func (r *reader) syntax(before int, err error) {
	line, what := 1, err.Error()
	if m := syntaxError.FindStringSubmatch(what); m != nil {
		what = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	r.problems = append(r.problems, r.quoted(Problem{File: r.file, Line: before + line, What: "This is not YAML: " + what + "."}))
}

// quotedBackslash is a backslash in double quotes, as far as a line shows it, and
// quotedLine is a line of which no more is there than that.
var (
	quotedBackslash = regexp.MustCompile(`"[^"]*\\`)
	quotedLine      = regexp.MustCompile(`^[ \t]*(\w+):[ \t]*"([^"]*)"[ \t]*(?:#.*)?\r?\n?$`)
)

// quoted adds to a problem that backslashes in double quotes are YAML's, if there are
// any in its line, and what is to be written instead.
func (r *reader) quoted(p Problem) Problem {
	if p.Line < 1 || p.Line > len(r.lines) || !quotedBackslash.Match(r.lines[p.Line-1]) {
		return p
	}
	p.Hint = "In double quotes YAML reads backslashes itself. In single quotes it leaves them alone: '^a\\.b$'"
	m := quotedLine.FindSubmatch(r.lines[p.Line-1])
	if m != nil && (string(m[1]) == keySPIFFEID || string(m[1]) == keyPath) {
		if instead := anchored(string(m[2])); instead != "" {
			p.Key, p.Instead = string(m[1]), instead
		}
	}
	return p
}

// mapping returns the values of a mapping whose keys are known, and those of its
// keys that are known but for their spelling. A key that is not known, or is there
// twice, is a mistake: what somebody wrote would not count.
func (r *reader) mapping(n *yaml.Node, what string, known []string) (values map[string]*yaml.Node, misspelt []string) {
	if n.Kind != yaml.MappingNode {
		hint := "It has the keys " + strings.Join(known, ", ") + "."
		if n.Kind == yaml.SequenceNode {
			hint = "Each is a YAML document of its own, with a line --- between them."
		}
		r.complain(n.Line, hint, "This is not %s.", what)
		return nil, nil
	}
	values = map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !slices.Contains(known, key.Value) || key.Kind != yaml.ScalarNode:
			hint := "The keys are " + strings.Join(known, ", ") + "."
			if meant := nearest.Of(key.Value, known); meant != "" && key.Kind == yaml.ScalarNode {
				hint = "It is probably " + meant + "."
				misspelt = append(misspelt, meant)
			}
			r.complain(key.Line, hint, "The key %q is not known.", key.Value)
		case values[key.Value] != nil:
			r.complain(key.Line, "", "The key %s is there twice.", key.Value)
		default:
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			values[key.Value] = value
		}
	}
	return values, misspelt
}

// text returns one value. Numbers and the like are text here: a policy can be
// called 1.
func (r *reader) text(n *yaml.Node, key string) Text {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		r.complain(n.Line, "", "%s has no text.", key)
		return Text{}
	}
	if strings.ContainsFunc(n.Value, unicode.IsControl) {
		// It can be what somebody meant for an escape: "\b" is a backspace.
		r.problems = append(r.problems, r.quoted(Problem{
			File: r.file, Line: n.Line, What: fmt.Sprintf("%s has a control character: %q.", key, n.Value),
		}))
		return Text{}
	}
	return Text{n.Value, n.Line}
}

// texts returns a list of them.
func (r *reader) texts(n *yaml.Node, key string) (list []Text) {
	if n.Kind != yaml.SequenceNode {
		items := strings.FieldsFunc(n.Value, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		if len(items) == 0 {
			items = []string{"read", "write"}
		}
		r.complain(n.Line, "Write: "+key+": ["+strings.Join(items, ", ")+"]", "%s is not a list.", key)
		return nil
	}
	for _, item := range n.Content {
		if t := r.text(item, key); t.Line > 0 {
			list = append(list, t)
		}
	}
	return list
}
