package policyfile

import (
	"strings"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
)

// effect finds what grants nothing although Nexus takes it, by the list of operations
// that Nexus decides by: a path at which nothing can be, and a permission that nothing
// needs where the policy has it.
func (c *checker) effect(d *Document) {
	// The caller knows the pattern to be good. With super it matches whatever it matches.
	p, err := policy.Compile(policy.Policy{Name: "p", SPIFFEIDPattern: "^.*$", PathPattern: d.Path.Value, Permissions: policy.Super})
	if err != nil {
		return
	}
	needed := decision.TakenAtSecrets()
	if p.Reserved() {
		needed = 0
		for _, path := range decision.Reserved() {
			if p.Grants(policy.Super, path) {
				needed |= decision.Taken(path)
			}
		}
		if needed == 0 {
			c.add(d.Path.Line, Problem{Warning: true, Key: keyPath,
				What: "Nothing has a reserved path like this: this policy grants nothing.",
				Hint: "There are " + strings.Join(decision.Reserved(), ", ") + "."})
			return
		}
	} else if err := secretAt(p); err != nil {
		c.add(d.Path.Line, Problem{Warning: true, Key: keyPath,
			What: "No secret can have a path like this: this policy grants nothing.", Hint: render.Sentence(err.Error())})
		return
	}
	// Super implies what is needed there, and so grants something.
	needed |= policy.Super
	for _, t := range d.Permissions {
		// A word that is no permission is told elsewhere.
		if one, err := policy.ParsePermissions([]string{t.Value}); err == nil && one&needed == 0 {
			c.add(t.Line, Problem{Warning: true, Key: keyPermissions,
				What: "The permission " + t.Value + " grants nothing at the paths of this policy.",
				Hint: "It is needed at " + decision.Needed(one) + "."})
		}
	}
}

// secretAt says why no secret can have a path that the policy is about, as far as the
// beginning of its pattern tells.
func secretAt(p *policy.Policy) error {
	if path, only := p.OnlyPath(); only {
		return api.ValidatePath(path)
	}
	if api.ValidatePath(p.PathPrefix()) == nil {
		return nil
	}
	return api.ValidatePath(p.PathPrefix() + "x")
}
