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
	problems []Problem
}

func (r *reader) complain(line int, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, What: fmt.Sprintf(format, args...), Hint: hint})
}

// quoteHint is for backslashes in double quotes, where YAML reads them itself.
const quoteHint = "In double quotes YAML reads backslashes itself. In single quotes it leaves them alone: '^a\\.b$'"

// syntaxError is what the library says of a file: there is no type for it.
var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// quotedBackslash is a backslash in double quotes, as far as a line shows it.
var quotedBackslash = regexp.MustCompile(`"[^"]*\\`)

// documents returns the content of each document, and leaves out empty ones.
func (r *reader) documents(content []byte) (roots []*yaml.Node) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document yaml.Node
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return roots
		}
		if err != nil {
			r.syntax(content, err)
			return roots
		}
		if len(document.Content) == 1 && document.Content[0].Tag != "!!null" {
			roots = append(roots, document.Content[0])
		}
	}
}

func (r *reader) syntax(content []byte, err error) {
	line, what := 1, err.Error()
	if m := syntaxError.FindStringSubmatch(what); m != nil {
		what = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	hint := ""
	if lines := bytes.Split(content, []byte("\n")); line <= len(lines) && quotedBackslash.Match(lines[line-1]) {
		hint = quoteHint
	}
	r.complain(line, hint, "This is not YAML: %s.", what)
}

// mapping returns the values of a mapping whose keys are known. A key that is not,
// or is there twice, is a mistake: what somebody wrote would not count.
func (r *reader) mapping(n *yaml.Node, what string, known []string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		r.complain(n.Line, "It has the keys "+strings.Join(known, ", ")+".", "This is not %s.", what)
		return nil
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !slices.Contains(known, key.Value) || key.Kind != yaml.ScalarNode:
			r.complain(key.Line, "The keys are "+strings.Join(known, ", ")+".", "The key %q is not known.", key.Value)
		case values[key.Value] != nil:
			r.complain(key.Line, "", "The key %s is there twice.", key.Value)
		default:
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			values[key.Value] = value
		}
	}
	return values
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
		hint := ""
		if n.Style&yaml.DoubleQuotedStyle != 0 {
			hint = quoteHint // "\b" is a backspace
		}
		r.complain(n.Line, hint, "%s has a control character: %q.", key, n.Value)
		return Text{}
	}
	return Text{n.Value, n.Line}
}

// texts returns a list of them.
func (r *reader) texts(n *yaml.Node, key string) (list []Text) {
	if n.Kind != yaml.SequenceNode {
		r.complain(n.Line, "Write for instance: "+key+": [read, write]", "%s is not a list.", key)
		return nil
	}
	for _, item := range n.Content {
		if t := r.text(item, key); t.Line > 0 {
			list = append(list, t)
		}
	}
	return list
}
