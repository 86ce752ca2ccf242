package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// JSON writes v indented, and with < > & as they are. What could steer a
// terminal is escaped, which changes nothing for who reads the JSON.
func JSON(w io.Writer, v any) error {
	var out bytes.Buffer
	defer func() { clear(out.Bytes()) }()
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	visible := make([]byte, 0, out.Len()+out.Len()/8)
	defer func() { clear(visible) }()
	for _, r := range out.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			visible = append(visible, string(r)...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			visible = fmt.Appendf(visible, `\u%04x\u%04x`, high, low)
		default:
			visible = fmt.Appendf(visible, `\u%04x`, r)
		}
	}
	_, err := w.Write(visible)
	return err
}

// YAML writes v with the names and in the order that JSON has.
func YAML(w io.Writer, v any) error {
	var in bytes.Buffer
	defer func() { clear(in.Bytes()) }()
	if err := json.NewEncoder(&in).Encode(v); err != nil {
		return err
	}
	d := json.NewDecoder(&in)
	d.UseNumber()
	document, err := next(d)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(document); err != nil {
		return err
	}
	return e.Close()
}

// next reads one JSON value as a YAML node. Nodes, unlike maps, keep the order.
func next(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if t == '{' {
			node.Kind = yaml.MappingNode
		}
		// In an object names and values follow each other, as in a mapping node.
		for d.More() {
			part, err := next(d)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, part)
		}
		_, err := d.Token() // the closing one
		return node, err
	case string:
		return scalar(t), nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(t)}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "null"}, nil
	}
	return nil, fmt.Errorf("JSON has no %T", token)
}

// scalar leaves how text is written to the library, but for what spans lines: in a
// block that begins with a space or has tabs the library gets some wrong.
func scalar(text string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(text)
	if !strings.Contains(text, "\n") {
		return node
	}
	node.Style = yaml.LiteralStyle
	first, _ := utf8.DecodeRuneInString(text)
	odd := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if unicode.IsSpace(first) || strings.ContainsFunc(text, odd) {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}
