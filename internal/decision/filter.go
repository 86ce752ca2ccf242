package decision

import (
	"slices"
	"strings"

	"github.com/spiffe/spike/internal/policy"
)

// Filter says which paths of a list a caller may have. Nil lets all through.
type Filter struct {
	policies   []*policy.Policy
	permission policy.Permission
}

// By returns a policy that lets path through, or nil.
func (f *Filter) By(path string) *policy.Policy {
	for _, p := range f.policies {
		if p.Grants(f.permission, path) {
			return p
		}
	}
	return nil
}

// Lets reports whether path is let through.
func (f *Filter) Lets(path string) bool { return f == nil || f.By(path) != nil }

// Within returns the prefixes, in order and none within another, under which
// something that begins with prefix can be let through: the rest of the store
// need not be looked at.
func (f *Filter) Within(prefix string) []string {
	if f == nil {
		return []string{prefix}
	}
	var all []string
	for _, p := range f.policies {
		switch literal := p.PathPrefix(); {
		case strings.HasPrefix(literal, prefix):
			all = append(all, literal)
		case strings.HasPrefix(prefix, literal):
			all = append(all, prefix)
		}
	}
	slices.Sort(all)
	apart := all[:0]
	for _, p := range all {
		if len(apart) == 0 || !strings.HasPrefix(p, apart[len(apart)-1]) {
			apart = append(apart, p)
		}
	}
	return apart
}
