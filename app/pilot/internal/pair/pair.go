// Package pair reads the KEY=VALUE arguments of a command. What a value is, is
// never repeated in an error, and neither is an argument that is malformed: it
// may be a value that lost its key.
package pair

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// MaxValue is the most that is read for a value; a larger one cannot be sent.
const MaxValue = api.MaxBody

// From is where a value comes from.
type From int

const (
	// Literal is a value that stands in the argument: KEY=VALUE.
	Literal From = iota
	// Stdin is standard input: KEY=-.
	Stdin
	// File is a file's content, byte for byte: KEY=@FILE.
	File
)

// Pair is one argument.
type Pair struct {
	Key  string
	From From
	Name string       // the file's
	Text secret.Bytes // the literal's
}

// Parse reads arguments. It reads no file and no input.
func Parse(args []string) ([]Pair, error) {
	pairs := make([]Pair, 0, len(args))
	place := map[string]int{} // of each key, from 1
	stdin := 0                // the place of the pair that reads it
	for i, arg := range args {
		n := i + 1
		key, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("pair %d has no '=': write KEY=VALUE, KEY=@FILE or KEY=-", n)
		case key == "":
			return nil, fmt.Errorf("pair %d has no key before its '='", n)
		case !utf8.ValidString(key):
			return nil, fmt.Errorf("the key of pair %d is not UTF-8 text", n)
		case place[key] != 0:
			return nil, fmt.Errorf("pairs %d and %d have the same key", place[key], n)
		}
		place[key] = n
		p := Pair{Key: key}
		switch {
		case value == "-" && stdin != 0:
			return nil, fmt.Errorf("pairs %d and %d both want standard input, which can be read once", stdin, n)
		case value == "-":
			p.From, stdin = Stdin, n
		case value == "@":
			return nil, fmt.Errorf("pair %d has no file name after its '@'", n)
		case strings.HasPrefix(value, "@"):
			p.From, p.Name = File, value[1:]
		case !utf8.ValidString(value):
			return nil, fmt.Errorf("the value of pair %d is not UTF-8 text; "+
				"store it in base64: … | base64 -w0 | spike secret put PATH KEY=-", n)
		default:
			p.Text = secret.NewBytes([]byte(value))
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// Load reads what the pairs name. Input is called for the one that wants
// standard input.
func Load(pairs []Pair, input func(key string) ([]byte, error)) (api.Values, error) {
	values := make(api.Values, len(pairs))
	for i, p := range pairs {
		var content []byte
		var err error
		switch p.From {
		case Literal:
			content = p.Text.Expose()
		case Stdin:
			content, err = input(p.Key)
		case File:
			content, err = readFile(p.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("pair %d: %w", i+1, err)
		}
		if !utf8.Valid(content) {
			return nil, fmt.Errorf("pair %d: %s is not UTF-8 text; store it in base64: %s",
				i+1, p.source(), p.encode())
		}
		values[p.Key] = string(content)
	}
	return values, nil
}

// source is what the value's origin is called.
func (p Pair) source() string {
	if p.From == File {
		return "the file " + p.Name
	}
	return "standard input"
}

// encode is the command that stores what is no text.
func (p Pair) encode() string {
	if p.From == File {
		return "base64 -w0 " + p.Name + " | spike secret put PATH KEY=-"
	}
	return "… | base64 -w0 | spike secret put PATH KEY=-"
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

func readFile(name string) (content []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(name, "~") {
			return nil, fmt.Errorf("%w (after '@' no shell replaces '~': write $HOME)", err)
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ReadAll(f)
}

// ErrEmptyInput is for standard input with nothing in it, which is what a failed
// command before a pipe leaves, and no value that anyone means.
var ErrEmptyInput = errors.New("standard input was empty; for an empty value write KEY=")
