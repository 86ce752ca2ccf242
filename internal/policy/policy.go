// Package policy says which workload may do what. It is pure: policies are
// compiled once, when they are written or loaded, and a [Set] of them never
// changes.
package policy

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a policy. A pattern's cost is bounded by its instructions, since
// matching takes at most one step for each of them at each character.
const (
	MaxName         = 250
	MaxPattern      = 500
	MaxInstructions = 100
)

// ReservedPrefix begins the paths that stand for SPIKE's own operations. A
// policy grants one of them only on purpose; see [Policy.Grants].
const ReservedPrefix = "spike/system/"

// What can be wrong with a pattern that is a regular expression. The texts go on
// where the name of the pattern ends.
var (
	ErrNotAnchored = errors.New("is not anchored: it must begin with ^ and end with $ as a whole")
	ErrTooComplex  = errors.New("is too complex")
)

// Permission is what a policy grants.
type Permission uint8

// The permissions, as bits. Super implies all.
const (
	Read Permission = 1 << iota
	Write
	List
	Execute
	Super
)

// All is every permission.
const All = Super<<1 - 1

var permissionNames = [...]string{"read", "write", "list", "execute", "super"}

// ParsePermissions reads names; there must be at least one, and no unknown one.
func ParsePermissions(names []string) (Permission, error) {
	var all Permission
	for _, name := range names {
		i := slices.Index(permissionNames[:], name)
		if i < 0 {
			return 0, fmt.Errorf("%q is not a permission; use %s", name, All)
		}
		all |= 1 << i
	}
	if all == 0 {
		return 0, errors.New("there is no permission; give at least one of " + All.String())
	}
	return all, nil
}

// Names lists the permissions in p, in a fixed order.
func (p Permission) Names() []string {
	var names []string
	for i, name := range permissionNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String lists the names, as people read them.
func (p Permission) String() string { return strings.Join(p.Names(), ", ") }

// Policy is a compiled policy. It never changes.
type Policy struct {
	Name             string
	SPIFFEIDPattern  string
	PathPattern      string
	Permissions      Permission
	Created, Updated time.Time

	id, path *pattern
	label    string
	// reserved: the path pattern can only match paths under ReservedPrefix, and
	// says so literally.
	reserved bool
}

// Compile checks a policy and makes it ready to match. The errors are sentences
// for whoever wrote it.
func Compile(p Policy) (*Policy, error) { return p.compile(MaxInstructions) }

// Recompile is Compile for a policy that was checked when it was written: should
// another release count its instructions otherwise, it still holds.
func Recompile(p Policy) (*Policy, error) { return p.compile(math.MaxInt) }

func (p Policy) compile(instructions int) (*Policy, error) {
	if err := ValidateName(p.Name); err != nil {
		return nil, err
	}
	if p.Permissions == 0 || p.Permissions > All {
		return nil, errors.New("there is no permission")
	}
	var err error
	if p.id, err = compile(p.SPIFFEIDPattern, instructions); err != nil {
		return nil, fmt.Errorf("the SPIFFE ID pattern %w", err)
	}
	if p.path, err = compile(p.PathPattern, instructions); err != nil {
		return nil, fmt.Errorf("the path pattern %w", err)
	}
	p.reserved = p.path.reserved()
	p.label = "policy " + p.Name
	return &p, nil
}

// Label is what a decision names the policy by, such as in the audit log.
func (p *Policy) Label() string { return p.label }

// ValidateName says whether a policy can have this name: 1 to 250 of A-Z, a-z,
// 0-9, "-", "_" and space.
func ValidateName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("the name has %d characters; 1 to %d are allowed", len(name), MaxName)
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-_ ", r):
		default:
			return fmt.Errorf("the name has %q; letters, digits, -, _ and space are allowed", r)
		}
	}
	return nil
}

// Names reports whether the policy is about this SPIFFE ID.
func (p *Policy) Names(id string) bool { return p.id.match(id) }

// Grants reports whether the policy, for those whom it names, grants want at
// path. A reserved path is granted by a pattern that says literally that it is
// about reserved paths, or by super; a catch-all grants none.
func (p *Policy) Grants(want Permission, path string) bool {
	if p.Permissions&(want|Super) == 0 {
		return false
	}
	if strings.HasPrefix(path, ReservedPrefix) && !p.reserved && p.Permissions&Super == 0 {
		return false
	}
	return p.path.match(path)
}

// Reserved reports whether the policy says literally that it is about reserved
// paths, and so can grant them without super.
func (p *Policy) Reserved() bool { return p.reserved }

// PathPrefix returns what every path that the policy is about begins with.
func (p *Policy) PathPrefix() string { return p.path.prefix }

// OnlyPath returns the path that the policy is about, if it is about a single one.
func (p *Policy) OnlyPath() (path string, ok bool) { return p.path.prefix, p.path.whole }

// pattern is a regular expression that matches whole strings.
type pattern struct {
	prefix string // every match begins with it
	whole  bool   // prefix is the only match
	// rest takes what follows the prefix; nil for the few patterns that only re can
	// take. What it does not know, re does.
	rest matcher
	// re is larger than all else here, and hardly ever needed: it is made when it is.
	re func() *regexp.Regexp
}

func compile(text string, instructions int) (*pattern, error) {
	if text == "" || len(text) > MaxPattern {
		return nil, fmt.Errorf("has %d characters; 1 to %d are allowed", len(text), MaxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("is not a regular expression: %w", err)
	}
	if !anchored(parsed, syntax.OpBeginText, first) || !anchored(parsed, syntax.OpEndText, last) {
		return nil, ErrNotAnchored
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("is not a regular expression: %w", err)
	}
	if len(prog.Inst) > instructions {
		return nil, fmt.Errorf("%w: it takes %d instructions, and %d are allowed", ErrTooComplex, len(prog.Inst), instructions)
	}
	// Whatever the checks above made of it, it is matched against the whole string.
	text = `\A(?:` + text + `)\z`
	if _, err := regexp.Compile(text); err != nil {
		return nil, fmt.Errorf("is not a regular expression: %w", err)
	}
	p := &pattern{re: sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
	p.prefix, p.whole = literal(parsed)
	if p.whole {
		return p, nil
	}
	return p, p.compileRest(parsed, maxTable)
}

// compileRest makes what takes the part behind the prefix.
func (p *pattern) compileRest(parsed *syntax.Regexp, table int) error {
	rest := parsed
	if p.prefix != "" {
		rest = &syntax.Regexp{Op: syntax.OpConcat, Flags: parsed.Flags, Sub: parsed.Sub[2:]}
	}
	prog, err := syntax.Compile(rest.Simplify())
	if err != nil {
		return fmt.Errorf("is not a regular expression: %w", err)
	}
	p.rest = newMatcher(prog, p.prefix, table)
	return nil
}

// CheckPattern says whether a policy can have this pattern, and what every match
// begins with. The errors go on where the name of the pattern ends.
func CheckPattern(text string) (prefix string, err error) {
	p, err := compile(text, MaxInstructions)
	if err != nil {
		return "", err
	}
	return p.prefix, nil
}

// quick reports whether a match takes but a few steps for each byte.
func (p *pattern) quick() bool {
	_, automatic := p.rest.(*automaton)
	return p.whole || automatic
}

func (p *pattern) match(s string) bool {
	if p.whole {
		return s == p.prefix
	}
	after, ok := strings.CutPrefix(s, p.prefix)
	if !ok {
		return false
	}
	if p.rest != nil {
		if matched, known := p.rest.match(after); known {
			return matched
		}
	}
	return p.re().MatchString(s)
}

func first(list []*syntax.Regexp) *syntax.Regexp { return list[0] }
func last(list []*syntax.Regexp) *syntax.Regexp  { return list[len(list)-1] }

// anchored reports whether every way to match passes through op at the end of
// the expression that pick picks.
func anchored(re *syntax.Regexp, op syntax.Op, pick func([]*syntax.Regexp) *syntax.Regexp) bool {
	switch re.Op {
	case op:
		return true
	case syntax.OpCapture:
		return anchored(re.Sub[0], op, pick)
	case syntax.OpConcat:
		return len(re.Sub) > 0 && anchored(pick(re.Sub), op, pick)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !anchored(sub, op, pick) {
				return false
			}
		}
		return len(re.Sub) > 0
	default:
		return false
	}
}

// literal returns what every match begins with, and whether it is all there is.
func literal(re *syntax.Regexp) (prefix string, whole bool) {
	if re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText {
		return "", false
	}
	if len(re.Sub) < 2 || re.Sub[1].Op != syntax.OpLiteral || re.Sub[1].Flags&syntax.FoldCase != 0 {
		return "", false
	}
	return string(re.Sub[1].Rune), len(re.Sub) == 3 && re.Sub[2].Op == syntax.OpEndText
}

// reserved reports whether the expression is begin-text followed by a literal
// that starts with ReservedPrefix, with no alternation around it.
func (p *pattern) reserved() bool { return strings.HasPrefix(p.prefix, ReservedPrefix) }
