// Package pair reads the arguments that give a secret's values. What a value is,
// is never repeated in an error, and neither is an argument that is malformed: it
// may be a value that lost its key.
package pair

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/spiffe/spike/app/pilot/internal/infile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// ErrEmpty is for standard input with nothing in it, which is what a failed
// command before a pipe leaves, and for nothing typed: no value that anyone means.
var ErrEmpty = errors.New("nothing was given; for an empty value write KEY=")

// MaxValue is the most that is read for a value; a larger one cannot be sent.
const MaxValue = api.MaxBody

// From is where a value comes from.
type From int

const (
	// Literal is a value that stands in the argument: KEY=VALUE.
	Literal From = iota
	// Stdin is standard input: KEY=-.
	Stdin
	// File is a file's content: KEY=@FILE.
	File
	// Prompt is a value that a person is asked for: KEY alone.
	Prompt
)

// Pair is one argument.
type Pair struct {
	Key  string
	From From
	Name string       // the file's
	Text secret.Bytes // the literal's
}

const forms = "write KEY, KEY=-, KEY=@FILE or KEY=VALUE"

// Parse reads arguments. It reads no file and no input.
func Parse(args []string) ([]Pair, error) {
	pairs := make([]Pair, 0, len(args))
	place := map[string]int{} // of each key, from 1
	stdin := 0                // the place of the pair that reads it
	for i, arg := range args {
		n := i + 1
		key, value, ok := strings.Cut(arg, "=")
		switch {
		case key == "" && ok:
			return nil, fmt.Errorf("pair %d has no key before its '='", n)
		case key == "":
			return nil, fmt.Errorf("pair %d is empty: %s", n, forms)
		case !ok && (key == "-" || key[0] == '@'):
			return nil, fmt.Errorf("pair %d has no key: %s", n, forms)
		case !utf8.ValidString(key):
			return nil, fmt.Errorf("the key of pair %d is not UTF-8 text", n)
		case place[key] != 0:
			return nil, fmt.Errorf("pairs %d and %d have the same key", place[key], n)
		}
		place[key] = n
		p := Pair{Key: key}
		switch {
		case !ok:
			p.From = Prompt
		case value == "-" && stdin != 0:
			return nil, fmt.Errorf("pairs %d and %d both want standard input, which can be read once", stdin, n)
		case value == "-":
			p.From, stdin = Stdin, n
		case value == "@":
			return nil, fmt.Errorf("pair %d has no file name after its '@'", n)
		case strings.HasPrefix(value, "@"):
			p.From, p.Name = File, value[1:]
		case unfit([]byte(value)) != "":
			return nil, fmt.Errorf("the value of pair %d %s; store it in base64: %s", n, unfit([]byte(value)), encodeInput)
		default:
			p.Text = secret.NewBytes([]byte(value))
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// Exposed returns the keys whose values stood on the command line. An empty one
// gives nothing away.
func Exposed(pairs []Pair) (keys []string) {
	for _, p := range pairs {
		if p.From == Literal && p.Text.Len() > 0 {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// Source has what the pairs alone do not say.
type Source struct {
	// Input reads standard input; nil when that is a terminal, and its value is
	// asked for instead.
	Input func() ([]byte, error)
	// Trim says whether the newlines at the end of a value go, when the value is
	// otherwise one line. What names the value's origin.
	Trim func(what string, newlines int) (bool, error)
}

// Load reads the values that need no person: literals, files, and standard
// input. The pairs that are left are for [Ask].
func Load(pairs []Pair, from Source) (values api.Values, left []Pair, err error) {
	values = make(api.Values, len(pairs))
	for i, p := range pairs {
		if p.From == Prompt || p.From == Stdin && from.Input == nil {
			left = append(left, p)
			continue
		}
		content, err := p.read(from)
		if err != nil {
			return nil, nil, fmt.Errorf("pair %d: %w", i+1, err)
		}
		values[p.Key] = string(content)
	}
	return values, left, nil
}

func (p Pair) read(from Source) (content []byte, err error) {
	switch p.From {
	case Literal:
		return p.Text.Expose(), nil // Parse has looked at it
	case Stdin:
		content, err = from.Input()
	case File:
		content, err = readFile(p.Name)
	case Prompt:
		panic("a value that is asked for is not read")
	}
	if err != nil {
		return nil, err
	}
	if why := unfit(content); why != "" {
		return nil, fmt.Errorf("%s %s; store it in base64: %s", p.source(), why, p.encode())
	}
	line, newlines := oneLine(content)
	if newlines == 0 {
		return content, nil
	}
	trim, err := from.Trim(p.source(), newlines)
	if trim {
		content = line
	}
	if err == nil && len(content) == 0 && p.From == Stdin {
		return nil, ErrEmpty
	}
	return content, err
}

// unfit says why content cannot be a value; "" where it can. UTF-8 has U+0000, but no
// text does, and it would end a value in an environment or on a command line.
func unfit(content []byte) string {
	switch {
	case !utf8.Valid(content):
		return "is not UTF-8 text"
	case bytes.IndexByte(content, 0) >= 0:
		return "has a NUL byte, which no text has"
	}
	return ""
}

// oneLine returns content without the newlines at its end, and how many those are, when
// it is one line and empty ones, as echo and editors write it. Of a text of several
// lines, such as a PEM key, which needs its last newline, it takes none.
func oneLine(content []byte) (line []byte, newlines int) {
	line = content
	for {
		rest, ok := bytes.CutSuffix(line, []byte("\n"))
		if !ok {
			break
		}
		line = bytes.TrimSuffix(rest, []byte("\r"))
		newlines++
	}
	if bytes.IndexByte(line, '\n') >= 0 {
		return content, 0
	}
	return line, newlines
}

// Ask adds the values that a person types.
func Ask(pairs []Pair, values api.Values, ask func(key string) ([]byte, error)) error {
	for _, p := range pairs {
		content, err := ask(p.Key)
		if err != nil {
			return fmt.Errorf("the value of %q: %w", p.Key, err)
		}
		if why := unfit(content); why != "" {
			return fmt.Errorf("the value of %q: what was typed %s", p.Key, why)
		}
		values[p.Key] = string(content)
	}
	return nil
}

// source is what the value's origin is called.
func (p Pair) source() string {
	if p.From == File {
		return "the file " + render.Clean(p.Name)
	}
	return "standard input"
}

const encodeInput = "… | base64 -w0 | spike secret put PATH KEY=-"

// encode is the command that stores what is no text. It is for pasting, whatever the
// file is called.
func (p Pair) encode() string {
	name := p.Name
	switch {
	case p.From != File, render.Clean(name) != name:
		return encodeInput
	case name == "-":
		name = "./-" // which is standard input for base64
	}
	return "base64 -w0 -- " + render.ShellWord(name) + " | spike secret put PATH KEY=-"
}

// ReadAll reads a value, at most MaxValue bytes.
func ReadAll(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, MaxValue+1))
	if err != nil {
		return nil, err
	}
	if len(content) > MaxValue {
		return nil, fmt.Errorf("the value is larger than %d MiB, the most that Nexus takes", MaxValue>>20)
	}
	return content, nil
}

func readFile(name string) ([]byte, error) {
	f, err := infile.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "~"):
		return nil, fmt.Errorf("what follows '@' is taken for a file's name, and %w (no shell replaces '~' there: write $HOME)", err)
	case err != nil:
		return nil, fmt.Errorf("what follows '@' is taken for a file's name, and %w; a value that begins with '@' goes through KEY=-", err)
	}
	// It is only read, so that nothing can go wrong here.
	defer func() { _ = f.Close() }()
	return ReadAll(f)
}
