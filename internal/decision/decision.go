package decision

import (
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// Caller is who asks.
type Caller struct {
	ID   string // SPIFFE ID
	Role role.Role
}

// Verdict is a decision. The zero value is a refusal.
type Verdict struct {
	Allowed bool
	Policy  *policy.Policy // that allowed it; nil if it was the caller's role
	// Filter is there if the caller may have some of what it asks for and not all.
	Filter *Filter
}

// By says what allowed it to a caller of that role, as the audit log does; "" for a
// refusal.
func (v *Verdict) By(as role.Role) string {
	switch {
	case v.Policy != nil:
		return v.Policy.Label()
	case v.Allowed:
		return "role " + as.String()
	}
	return ""
}

// Decide says whether caller may do op at path, under policies, which may be nil.
func Decide(policies *policy.Set, caller Caller, op Operation, path string) Verdict {
	r := ruleOf(op)
	switch {
	case r.role == role.None:
		return Verdict{}
	case caller.Role == r.role, r.lite && caller.Role == role.Lite:
		return Verdict{Allowed: true}
	case caller.Role != role.Workload || r.permission == 0 || policies == nil:
		return Verdict{}
	}
	if r.reserved != "" {
		path = r.reserved
	}
	if len(path) > api.MaxPath {
		// Nothing can be there, and matching it would cost its length.
		return Verdict{}
	}
	if p := policies.Allow(caller.ID, r.permission, path); p != nil {
		return Verdict{Allowed: true, Policy: p}
	}
	if r.filtered {
		if some := policies.Naming(caller.ID, r.permission); len(some) > 0 {
			return Verdict{Allowed: true, Policy: some[0], Filter: &Filter{some, r.permission}}
		}
	}
	return Verdict{}
}
