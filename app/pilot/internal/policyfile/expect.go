package policyfile

import (
	"io"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/trial"
	"github.com/spiffe/spike/internal/decision"
)

// Expectation is what somebody expects of policies.
type Expectation struct {
	trial.Question
	File    string
	Line    int
	Allowed bool
	By      string // the policy that must allow it; empty for any
}

// The words of expect.
const (
	Allowed = "allowed"
	Denied  = "denied"
)

// ParseExpectations reads a list of them, or several documents with lists.
func ParseExpectations(file string, content []byte) ([]Expectation, []Problem) {
	r := &reader{file: file}
	var list []Expectation
	for _, root := range r.documents(content) {
		if root.Kind != yaml.SequenceNode {
			r.complain(root.Line, "Write: - {as: …, path: …, action: read, expect: allowed}", "This is not a list of expectations.")
			continue
		}
		for _, item := range root.Content {
			if e, ok := r.expectation(item); ok {
				list = append(list, e)
			}
		}
	}
	if len(list) == 0 && len(r.problems) == 0 {
		r.complain(0, "", "There is no expectation in it.")
	}
	return list, r.problems
}

// expectation reads one. Whatever is wrong with it is a problem: a case that is
// passed over would be a case that nobody tests.
func (r *reader) expectation(n *yaml.Node) (e Expectation, ok bool) {
	before := len(r.problems)
	keys := []string{"as", "path", "action", "expect", "by"}
	nodes, misspelt := r.mapping(n, "an expectation", keys)
	if nodes == nil {
		return e, false
	}
	got := map[string]Text{}
	for _, key := range keys {
		if nodes[key] != nil {
			got[key] = r.text(nodes[key], key)
		}
	}
	// What encrypts and decrypts has one path, which nobody need know.
	if nodes["path"] == nil && got["action"].Value == "execute" {
		got["path"] = Text{decision.PathCipher, n.Line}
	}
	for _, key := range keys[:4] {
		if nodes[key] == nil && got[key].Value == "" && !slices.Contains(misspelt, key) {
			r.complain(n.Line, "", "The expectation has no %s.", key)
		}
	}
	id, err := spiffeid.FromString(got["as"].Value)
	if err != nil && got["as"].Line > 0 {
		r.complain(got["as"].Line, "", "as is not a SPIFFE ID: %v.", err)
	}
	// Nexus would refuse the path for what it is, whatever policies say of it: a mistyped
	// one that is expected to be denied would never be noticed.
	if t := got["path"]; t.Line > 0 {
		if err := decision.CheckPath(t.Value); err != nil {
			r.complain(t.Line, "", "%s", render.Sentence(err.Error()))
		}
	}
	if t := got["action"]; t.Line > 0 && !slices.Contains(trial.Actions(), t.Value) {
		r.complain(t.Line, "", "action is one of %s.", strings.Join(trial.Actions(), ", "))
	}
	if t := got["expect"]; t.Line > 0 && t.Value != Allowed && t.Value != Denied {
		r.complain(t.Line, "", "expect is %s or %s.", Allowed, Denied)
	}
	if t := got["by"]; t.Line > 0 && got["expect"].Value == Denied {
		r.complain(t.Line, "", "by is the policy that allows it: it goes with expect: %s.", Allowed)
	}
	e = Expectation{
		Question: trial.Question{As: id, Path: got["path"].Value, Action: got["action"].Value},
		File:     r.file, Line: n.Line, Allowed: got["expect"].Value == Allowed, By: got["by"].Value,
	}
	return e, len(r.problems) == before
}

// LoadExpectations reads a file of them or, for "-", input.
func LoadExpectations(file string, input io.Reader) ([]Expectation, []Problem, error) {
	content, err := read(file, input)
	if err != nil {
		return nil, nil, err
	}
	list, problems := ParseExpectations(shownName(file), content)
	return list, problems, nil
}
