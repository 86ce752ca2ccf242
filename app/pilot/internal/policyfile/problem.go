// Package policyfile reads policies as people write them, in YAML, and says what
// is wrong with them and where.
package policyfile

import (
	"fmt"
	"slices"
)

// Problem is something in a file that is wrong, or at least doubtful.
type Problem struct {
	File string
	Line int // 0 where there is none
	// Warning: Nexus would take it, and it may be meant.
	Warning bool
	Policy  string // empty where it is not known
	What    string // a sentence
	// Key and Instead are what to write in that place; Instead may be empty.
	Key, Instead string
	Hint         string // a sentence about what to do; may be empty
}

// Where is the place, for people and editors.
func (p *Problem) Where() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Errors returns the problems that are no warnings.
func Errors(problems []Problem) []Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return p.Warning })
}

// Warnings returns the others.
func Warnings(problems []Problem) []Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return !p.Warning })
}
