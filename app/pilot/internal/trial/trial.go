// Package trial says what Nexus would decide under given policies, and why. What
// matches is the code that Nexus itself uses; who asks for what is put together
// here, as in Nexus's one function that decides.
package trial

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// The reserved paths that grant an operation wherever it happens.
const (
	allPaths = policy.ReservedPrefix + "secret"      // list
	Cipher   = policy.ReservedPrefix + "cipher/exec" // execute
)

// Actions are the permissions that can be asked for. Super is none of them: nothing
// needs it.
func Actions() []string { return []string{"read", "write", "list", "execute"} }

// Question is what somebody wants to do.
type Question struct {
	As     spiffeid.ID
	Path   string
	Action string // of Actions
}

// Verdict is the answer.
type Verdict struct {
	Allowed bool
	Policy  string // that allows it; empty when a role does
	Role    string // of the one who asks, unless it is a plain workload
	// Why is sentences: of a refusal the nearest misses, at most a few.
	Why []string
}

// Court decides under a set of policies.
type Court struct {
	policies []*policy.Policy // sorted
	roles    role.Domains
}

// New returns a court. Of the trust domains it needs those in which roles count.
func New(policies []*policy.Policy, roles role.Domains) *Court {
	if len(roles.Lite) == 0 && len(roles.Trusted) > 0 {
		roles.Lite = roles.Trusted[:1] // Nexus's default
	}
	policies = slices.Clone(policies)
	slices.SortFunc(policies, func(a, b *policy.Policy) int { return strings.Compare(a.Name, b.Name) })
	return &Court{policies, roles}
}

// Decide answers a question.
func (c *Court) Decide(q Question) (Verdict, error) {
	if !slices.Contains(Actions(), q.Action) {
		return Verdict{}, fmt.Errorf("%q is not an action; use %s", q.Action, strings.Join(Actions(), ", "))
	}
	want, err := policy.ParsePermissions([]string{q.Action})
	if err != nil {
		return Verdict{}, err
	}
	switch r := c.roles.Of(q.As); r {
	// Whether a domain is trusted is a setting of Nexus and not of this program.
	case role.Workload, role.None:
	case role.Superuser:
		return Verdict{Allowed: true, Role: r.String(), Why: []string{"The role superuser needs no policy."}}, nil
	case role.Lite:
		if want == policy.Execute && q.Path == Cipher {
			return Verdict{Allowed: true, Role: r.String(), Why: []string{"The role lite needs no policy to encrypt and decrypt."}}, nil
		}
		return Verdict{Role: r.String(), Why: []string{"The role lite may encrypt and decrypt, and nothing else."}}, nil
	case role.Nexus, role.Keeper, role.Recover, role.Restore:
		return Verdict{Role: r.String(), Why: []string{fmt.Sprintf("No policy counts for the role %s.", r)}}, nil
	}
	v := c.workload(q, want)
	if c.roles.Of(q.As) == role.None {
		v.Why = append(v.Why, fmt.Sprintf("And Nexus must trust the domain %s, which is not in this program's SPIKE_TRUST_ROOT.", q.As.TrustDomain().Name()))
	}
	return v, nil
}

// workload decides about who has no role.
func (c *Court) workload(q Question, want policy.Permission) Verdict {
	paths := []string{q.Path}
	if want == policy.List && q.Path != allPaths {
		paths = append(paths, allPaths) // which lets its holder list everything
	}
	for _, path := range paths {
		for _, p := range c.policies {
			if p.Names(q.As.String()) && p.Grants(want, path) {
				return Verdict{Allowed: true, Policy: p.Name}
			}
		}
	}
	return Verdict{Why: c.misses(q, want)}
}

// most is how many near misses are told. More would not be read.
const most = 3

// misses returns what comes nearest to allowing it, and what it lacks.
func (c *Court) misses(q Question, want policy.Permission) []string {
	if len(c.policies) == 0 {
		return []string{"There are no policies."}
	}
	best, list := 0, []string(nil)
	for _, p := range c.policies {
		near, why := miss(p, q, want)
		if near > best {
			best, list = near, nil
		}
		if near == best && near > 0 {
			list = append(list, why)
		}
	}
	if best == 0 {
		return []string{"No policy is about this SPIFFE ID, nor about this path with the permission " + q.Action + "."}
	}
	if more := len(list) - most; more > 0 {
		list = append(list[:most], fmt.Sprintf("And as near: %d more.", more))
	}
	return list
}

// miss says how near a policy is to allowing it: nearest is one that needs a single
// word, and one that is about another identity comes last.
func miss(p *policy.Policy, q Question, want policy.Permission) (near int, why string) {
	// With super the permission and what is reserved are out of the way: what is left
	// is the pattern.
	free := *p
	free.Permissions = policy.Super
	names, path := p.Names(q.As.String()), free.Grants(policy.Super, q.Path)
	has := p.Permissions&(want|policy.Super) != 0
	closed := strings.HasPrefix(q.Path, policy.ReservedPrefix) && !p.Reserved() && p.Permissions&policy.Super == 0
	held := strings.Join(p.Permissions.Names(), ", ")
	quoted := "The policy " + p.Name
	switch {
	case names && path && has && closed:
		return 5, quoted + " matches both, but reserved paths are granted only by a pattern that begins with ^" +
			policy.ReservedPrefix + " as it is: " + p.PathPattern
	case names && path:
		return 5, fmt.Sprintf("%s matches both, but has not the permission %s. It has: %s.", quoted, q.Action, held)
	case names && has:
		return 4, quoted + " is about this SPIFFE ID, but not about this path: " + p.PathPattern
	case names:
		return 3, fmt.Sprintf("%s is about this SPIFFE ID, but neither about this path (%s) nor with the permission %s.",
			quoted, p.PathPattern, q.Action)
	case path && has && !closed:
		return 2, quoted + " is about this path, but not about this SPIFFE ID: " + p.SPIFFEIDPattern
	}
	return 0, ""
}
