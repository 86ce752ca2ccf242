package vault

import (
	"context"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// Paths is a store that has secrets at those paths, and policies, without anything
// behind it.
type Paths struct{ snapshot }

// NewPaths makes one.
func NewPaths(paths []string, policies ...*policy.Policy) *Paths {
	p := &Paths{snapshot{held: newHeld(stateRecord{})}}
	for _, path := range paths {
		p.secrets.Load(path, &entry{versions: []version{{number: 1}}})
	}
	p.policies = policy.NewSet(policies...)
	return p
}

// List lists as [Vault.ListSecrets] does, for a workload or, without an id, for a
// superuser. It also returns how many paths it has looked at.
func (p *Paths) List(ctx context.Context, id string, req *api.SecretListRequest) (keys []string, looked int, err error) {
	r := &request{caller: Caller{ID: id, Role: role.Workload}, op: decision.SecretList, path: req.Prefix}
	if id == "" {
		r.caller.Role = role.Superuser
	}
	if !r.decide(p.policies) {
		return nil, 0, api.ErrUnauthorized
	}
	return p.list(ctx, req, r.verdict.Filter)
}

// WearOutCipherKey uses the newest key's reservation up, and with entirely also
// what it could still reserve.
func (v *Vault) WearOutCipherKey(entirely bool) {
	k := v.current.Load().ciphers[0]
	if entirely {
		k.reserved = cipherMessages
	}
	k.used.Store(k.reserved)
}

// CipherKeys returns how many keys the cipher service has.
func (v *Vault) CipherKeys() int { return len(v.current.Load().ciphers) }
