package role_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/role"
)

func TestOf(t *testing.T) {
	home := spiffeid.RequireTrustDomainFromString("spike.ist")
	away := spiffeid.RequireTrustDomainFromString("away.example")
	first := []spiffeid.TrustDomain{home}
	domains := role.Domains{
		Trusted: []spiffeid.TrustDomain{home, away},
		Nexus:   first, Keeper: first, Pilot: first,
		Lite: []spiffeid.TrustDomain{away},
	}
	for id, want := range map[string]role.Role{
		"spiffe://spike.ist/spike/nexus":                           role.Nexus,
		"spiffe://spike.ist/spike/nexus/a/b":                       role.Nexus,
		"spiffe://spike.ist/spike/nexusx":                          role.Workload,
		"spiffe://spike.ist/spike/Nexus":                           role.Workload,
		"spiffe://spike.ist/x/spike/nexus":                         role.Workload,
		"spiffe://spike.ist/spike/keeper/1":                        role.Keeper,
		"spiffe://spike.ist/spike/pilot/role/superuser":            role.Superuser,
		"spiffe://spike.ist/spike/pilot/role/superuser/alice":      role.Superuser,
		"spiffe://spike.ist/spike/pilot/role/superuserx":           role.Workload,
		"spiffe://spike.ist/spike/pilot/role/superuser.x":          role.Workload,
		"spiffe://spike.ist/spike/pilot/role":                      role.Workload,
		"spiffe://spike.ist/spike/pilot/role/recover":              role.Recover,
		"spiffe://spike.ist/spike/pilot/role/restore/x":            role.Restore,
		"spiffe://spike.ist":                                       role.Workload,
		"spiffe://away.example/spike/nexus":                        role.Workload,
		"spiffe://away.example/spike/pilot/role/superuser":         role.Workload,
		"spiffe://away.example/spike/workload/role/lite":           role.Lite,
		"spiffe://spike.ist/spike/workload/role/lite":              role.Workload,
		"spiffe://other.example/spike/pilot/role/superuser":        role.None,
		"spiffe://spike.ist.evil.example/spike/pilot/role/recover": role.None,
	} {
		if got := domains.Of(spiffeid.RequireFromString(id)); got != want {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
	if got := domains.Of(spiffeid.ID{}); got != role.None {
		t.Errorf("no identity: got %s", got)
	}
}
