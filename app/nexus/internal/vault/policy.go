package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
)

// PutPolicy creates a policy, or replaces the one of that name. A workload that
// may write policies cannot write one that names itself: nobody widens its own
// rights.
func (v *Vault) PutPolicy(ctx context.Context, caller Caller, req *api.PolicyPutRequest) error {
	r, _, err := v.begin(ctx, caller, decision.PolicyPut, req.Name, 0)
	if err != nil {
		return err
	}
	return r.done(ctx, v.putPolicy(ctx, r, req))
}

func (v *Vault) putPolicy(ctx context.Context, r *request, req *api.PolicyPutRequest) error {
	permissions, err := policy.ParsePermissions(req.Permissions)
	if err != nil {
		return invalid(err)
	}
	// Compiling happens here and not in the committer: it is the caller's cost.
	compiled, err := policy.Compile(policy.Policy{
		Name: req.Name, SPIFFEIDPattern: req.SPIFFEIDPattern, PathPattern: req.PathPattern, Permissions: permissions,
	})
	if err != nil {
		return invalid(err)
	}
	if r.verdict.Policy != nil && compiled.Names(r.caller.ID) {
		r.verdict = decision.Verdict{}
		return fmt.Errorf("%w: the policy names its own writer", api.ErrUnauthorized)
	}
	return v.change(ctx, r, 0, func(t *tx) error {
		now := time.Unix(0, t.now).UTC()
		p := *compiled
		p.Created, p.Updated = now, now
		if old := t.policies.Get(p.Name); old != nil {
			p.Created = old.Created
		}
		return t.setPolicy(&p)
	})
}

// DeletePolicy removes a policy. It returns api.ErrNotFound when there is none of
// that name.
func (v *Vault) DeletePolicy(ctx context.Context, caller Caller, req *api.PolicyRequest) error {
	r, _, err := v.begin(ctx, caller, decision.PolicyDelete, req.ID, 0)
	if err != nil {
		return err
	}
	if err := policy.ValidateName(req.ID); err != nil {
		return r.done(ctx, invalid(err))
	}
	return r.done(ctx, v.change(ctx, r, 0, func(t *tx) error {
		if t.policies.Get(req.ID) == nil {
			return api.ErrNotFound
		}
		t.removePolicy(req.ID)
		return nil
	}))
}

// GetPolicy returns the policy of that name.
func (v *Vault) GetPolicy(ctx context.Context, caller Caller, req *api.PolicyRequest) (*policy.Policy, error) {
	r, s, err := v.begin(ctx, caller, decision.PolicyGet, req.ID, 0)
	if err != nil {
		return nil, err
	}
	if err := policy.ValidateName(req.ID); err != nil {
		return nil, r.done(ctx, invalid(err))
	}
	p := s.policies.Get(req.ID)
	if p == nil {
		return nil, r.done(ctx, api.ErrNotFound)
	}
	return p, r.done(ctx, nil)
}

// ListPolicies returns the policies, sorted by name: all of them, or those whose
// patterns are exactly the ones asked for.
func (v *Vault) ListPolicies(ctx context.Context, caller Caller, req *api.PolicyListRequest) ([]*policy.Policy, error) {
	r, s, err := v.begin(ctx, caller, decision.PolicyList, "", 0)
	if err != nil {
		return nil, err
	}
	var list []*policy.Policy
	for _, p := range s.policies.All() {
		if (req.SPIFFEIDPattern == "" || req.SPIFFEIDPattern == p.SPIFFEIDPattern) &&
			(req.PathPattern == "" || req.PathPattern == p.PathPattern) {
			list = append(list, p)
		}
	}
	return list, r.done(ctx, nil)
}
