package policyfile

import (
	"cmp"
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/spiffe/spike/app/pilot/internal/nearest"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/policy"
)

// Check says what is wrong with policies, by the rules of Nexus, and what is
// doubtful. Where there is no error, Compile takes each of them.
func Check(list []Document) []Problem {
	c := &checker{seen: map[string]*Document{}}
	for i := range list {
		c.document(&list[i])
	}
	return c.problems
}

// Sort puts problems into the order of files and lines.
func Sort(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// Compile makes a policy of a document without errors.
func (d *Document) Compile() (*policy.Policy, error) {
	permissions, err := policy.ParsePermissions(values(d.Permissions))
	if err != nil {
		return nil, err
	}
	return policy.Compile(policy.Policy{
		Name: d.Name.Value, SPIFFEIDPattern: d.SPIFFEID.Value, PathPattern: d.Path.Value, Permissions: permissions,
	})
}

func values(list []Text) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.Value
	}
	return out
}

// checker goes through policies in their order, so that of two with one name the
// second is the mistake.
type checker struct {
	seen     map[string]*Document
	problems []Problem
	doc      *Document
}

func (c *checker) add(line int, p Problem) {
	p.File, p.Line, p.Policy = c.doc.File, line, c.doc.Name.Value
	c.problems = append(c.problems, p)
}

// document checks what is there. What is missing has been told by whoever read it, and
// has no line.
func (c *checker) document(d *Document) {
	c.doc = d
	if d.Name.Line > 0 {
		c.name(d)
	}
	super := slices.ContainsFunc(d.Permissions, func(t Text) bool { return t.Value == "super" })
	for _, t := range d.Permissions {
		if _, err := policy.ParsePermissions([]string{t.Value}); err != nil {
			p := Problem{What: render.Sentence(err.Error()), Key: keyPermissions}
			if meant := nearest.Of(t.Value, policy.All.Names()); meant != "" {
				p.Hint = "It is probably " + meant + "."
			}
			c.add(t.Line, p)
		}
	}
	if d.SPIFFEID.Line > 0 {
		if prefix, ok := c.pattern(keySPIFFEID, d.SPIFFEID); ok && differs(prefix, "spiffe://") {
			c.add(d.SPIFFEID.Line, Problem{Warning: true, Key: keySPIFFEID,
				What: "No SPIFFE ID begins like this pattern.", Hint: "They begin with spiffe:// and the trust domain."})
		}
	}
	if d.Path.Line > 0 {
		if prefix, ok := c.pattern(keyPath, d.Path); ok && c.path(d.Path, prefix, super) {
			c.effect(d)
		}
	}
}

// name finds names that are there twice in all files, since all of them end up in one
// Nexus.
func (c *checker) name(d *Document) {
	if err := policy.ValidateName(d.Name.Value); err != nil {
		c.add(d.Name.Line, Problem{What: render.Sentence(err.Error()), Key: keyName})
	}
	if other := c.seen[d.Name.Value]; other != nil {
		c.add(d.Name.Line, Problem{Key: keyName, What: fmt.Sprintf("There is another policy of the name %q, at %s:%d.", d.Name.Value, other.File, other.Name.Line),
			Hint: "A name is a policy's identity: one would replace the other."})
		return
	}
	c.seen[d.Name.Value] = d
}

// pattern checks what both patterns have in common, and returns what every match
// begins with.
func (c *checker) pattern(key string, t Text) (prefix string, ok bool) {
	prefix, err := policy.CheckPattern(t.Value)
	switch {
	case errors.Is(err, policy.ErrNotAnchored):
		p := Problem{What: key + " " + err.Error() + ".", Key: key, Instead: anchored(t.Value)}
		if p.Instead != "" && corrected(t.Value) != t.Value {
			p.Hint = "It is a regular expression, where a dot is any character, and an asterisk repeats what is before it."
		}
		c.add(t.Line, p)
	case errors.Is(err, policy.ErrTooComplex):
		c.add(t.Line, Problem{What: key + " " + err.Error() + ".", Key: key,
			Hint: "Repetitions such as {20} cost the most; .* costs little. Or write several policies."})
	case err != nil:
		c.add(t.Line, unreadable(key, t.Value, err))
	}
	if err != nil {
		return "", false
	}
	// Somebody may mean these two, so they are no errors.
	if escaped := escapeDots(t.Value); escaped != t.Value {
		if _, err := policy.CheckPattern(escaped); err == nil {
			c.add(t.Line, Problem{Warning: true, Key: key, Instead: escaped,
				What: "A dot in " + key + " is not escaped: it stands for any character, not for a dot alone."})
		}
	}
	if noGlob(t.Value) != t.Value {
		c.add(t.Line, Problem{Warning: true, Key: key, Instead: anchored(t.Value),
			What: "In " + key + ", /* is any number of slashes. It is a regular expression, and not a shell's pattern."})
	}
	return prefix, true
}

// unreadable says why a pattern does not compile, without the words by which package
// regexp introduces it.
func unreadable(key, pattern string, err error) Problem {
	p := Problem{What: key + " " + strings.Replace(err.Error(), "error parsing regexp: ", "", 1) + ".", Key: key, Instead: anchored(pattern)}
	var cause *syntax.Error
	if !errors.As(err, &cause) {
		return p
	}
	switch cause.Code {
	case syntax.ErrMissingRepeatArgument:
		p.Hint = "It is no shell's pattern: for anything, write .*"
	case syntax.ErrInvalidPerlOp:
		p.Hint = "Nothing can look ahead or behind. What is to be left out must be left out of all policies."
	}
	return p
}

// path checks what only paths have: some are reserved, and none begins with a
// slash.
func (c *checker) path(t Text, prefix string, super bool) (ok bool) {
	// Who writes such a path has heard of it; whether the pattern reaches it is decided
	// by its beginning alone.
	reserved := strings.HasPrefix(prefix, policy.ReservedPrefix)
	meant := strings.HasPrefix(prefix, "spike/") && !differs(prefix, policy.ReservedPrefix) ||
		strings.Contains(t.Value, "spike/") && strings.Contains(t.Value, "system")
	switch {
	case strings.HasPrefix(prefix, "/"):
		c.add(t.Line, Problem{Warning: true, Key: keyPath, Instead: "^" + strings.TrimLeft(strings.TrimPrefix(t.Value, "^"), "/"),
			What: "No path begins with a slash: this policy grants nothing."})
	case meant && !reserved && !super:
		c.add(t.Line, Problem{Warning: true, Key: keyPath,
			What: "This does not grant the reserved paths under " + policy.ReservedPrefix + ".",
			Hint: "To grant one on purpose, begin the pattern with ^" + policy.ReservedPrefix + " as it is, outside parentheses and alternatives."})
	default:
		return true
	}
	return false
}

// differs reports whether nothing can begin with both.
func differs(prefix, with string) bool {
	n := min(len(prefix), len(with))
	return prefix[:n] != with[:n]
}

// anchored returns what was probably meant by a pattern, with what it lacks, or ""
// where nobody can tell.
func anchored(pattern string) string {
	inner := strings.TrimPrefix(corrected(pattern), "^")
	if strings.HasSuffix(inner, "$") && !strings.HasSuffix(inner, `\$`) {
		inner = strings.TrimSuffix(inner, "$")
	}
	// Nothing that is matched ends with a slash, so it is what is below that is meant.
	if strings.HasSuffix(inner, "/") {
		inner += ".*"
	}
	// The second is for alternatives, to which the anchors would not belong otherwise.
	for _, candidate := range [...]string{"^" + inner + "$", "^(?:" + inner + ")$"} {
		if _, err := policy.CheckPattern(candidate); err == nil {
			return candidate
		}
	}
	return ""
}

// corrected returns a pattern without what is probably not meant in it.
func corrected(pattern string) string { return escapeDots(noGlob(pattern)) }

// noGlob puts what stands for anything in the place of a shell's asterisk.
func noGlob(pattern string) string {
	if inner := strings.TrimPrefix(pattern, "^"); strings.HasPrefix(inner, "*") {
		pattern = "^." + inner
	}
	return strings.NewReplacer("/**", "/.*", "/*", "/.*").Replace(pattern)
}

// escapeDots puts a backslash before dots that stand between letters or digits, as
// in a name of a host or a file. What is in brackets is left alone, and so is
// everything where some of it is quoted in another way.
func escapeDots(pattern string) string {
	if strings.Contains(pattern, `\Q`) {
		return pattern
	}
	var out strings.Builder
	bracket, before := false, false // before: what precedes is a letter or digit itself
	for i := 0; i < len(pattern); i++ {
		b := pattern[i]
		switch {
		case b == '\\' && i+1 < len(pattern):
			out.WriteString(pattern[i : i+2])
			i++
			before = false
			continue
		case bracket:
			bracket = b != ']'
		case b == '[':
			bracket = true
		case b == '.' && before && i+1 < len(pattern) && word(pattern[i+1]):
			out.WriteByte('\\')
		}
		before = !bracket && word(b)
		out.WriteByte(b)
	}
	return out.String()
}

func word(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-'
}
