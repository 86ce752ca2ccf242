// Package trial says what Nexus would decide under given policies, and why. What
// decides is the code by which Nexus itself does; the reasons are found here.
package trial

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// Actions are the permissions that can be asked for. Super is none of them: nothing
// needs it.
func Actions() []string { return (policy.All &^ policy.Super).Names() }

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
	policies *policy.Set
	roles    role.Domains
}

// New returns a court. Of the trust domains it needs those in which roles count.
func New(policies []*policy.Policy, roles role.Domains) *Court {
	return &Court{policy.NewSet(policies...), roles}
}

// Decide answers a question. The error is of a question that makes no sense.
func (c *Court) Decide(q Question) (Verdict, error) {
	if !slices.Contains(Actions(), q.Action) {
		return Verdict{}, fmt.Errorf("%q is not an action; use %s", q.Action, strings.Join(Actions(), ", "))
	}
	want, err := policy.ParsePermissions([]string{q.Action})
	if err != nil {
		return Verdict{}, err
	}
	caller := decision.Caller{ID: q.As.String(), Role: c.roles.Of(q.As)}
	// Whether a domain is trusted is a setting of Nexus and not of this program.
	trusted := caller.Role != role.None
	if !trusted {
		caller.Role = role.Workload
	}
	d, err := decision.Ask(c.policies, caller, want, q.Path)
	if err != nil && !errors.Is(err, decision.ErrNothing) {
		return Verdict{}, err
	}
	v := Verdict{Allowed: d.Allowed}
	if d.Policy != nil {
		v.Policy = d.Policy.Name
	}
	if caller.Role != role.Workload {
		v.Role = caller.Role.String()
	}
	switch {
	case err != nil:
		v.Why = []string{fmt.Sprintf("Nothing needs the permission %s at this path. It is needed at %s.", q.Action, decision.Needed(want))}
	case caller.Role != role.Workload:
		v.Why = []string{because(caller.Role, d.Allowed)}
	case d.Filter != nil:
		v.Why = []string{"It may list some paths and not all: it is answered with those."}
	case !d.Allowed:
		v.Why = c.misses(q, want)
	}
	if !trusted {
		v.Why = append(v.Why, fmt.Sprintf("And Nexus must trust the domain %s, which is not in this program's SPIKE_TRUST_ROOT.", q.As.TrustDomain().Name()))
	}
	return v, nil
}

// because says what a role means for a verdict.
func because(r role.Role, allowed bool) string {
	switch {
	case r == role.Lite && allowed:
		return "The role lite needs no policy to encrypt and decrypt."
	case r == role.Lite:
		return "The role lite may encrypt and decrypt, and nothing else."
	case allowed:
		return fmt.Sprintf("The role %s needs no policy.", r)
	}
	return fmt.Sprintf("No policy counts for the role %s.", r)
}

// most is how many near misses are told. More would not be read.
const most = 3

// misses returns what comes nearest to allowing it, and what it lacks.
func (c *Court) misses(q Question, want policy.Permission) []string {
	if len(c.policies.All()) == 0 {
		return []string{"There are no policies."}
	}
	best, list := 0, []string(nil)
	for _, p := range c.policies.All() {
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
	held := p.Permissions.String()
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
