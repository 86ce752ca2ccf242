// Package role derives what a caller is from its SPIFFE ID and nothing else.
package role

import (
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Role is what a SPIFFE ID may be to SPIKE.
type Role int

const (
	// None is an identity of no trusted domain; it may do nothing.
	None Role = iota
	// Workload is any other identity of a trusted domain; policies decide.
	Workload
	// Nexus is the server.
	Nexus
	// Keeper holds a share of the root key.
	Keeper
	// Superuser administers everything but recovery and restore.
	Superuser
	// Recover may only export recovery shards.
	Recover
	// Restore may only feed recovery shards in.
	Restore
	// Lite may only encrypt and decrypt.
	Lite
)

var names = [...]string{"none", "workload", "nexus", "keeper", "superuser", "recover", "restore", "lite"}

// String returns the role's name in lower case.
func (r Role) String() string {
	if r < 0 || int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// paths has each role's SPIFFE ID path; the identities below it have the role too.
var paths = [...]struct {
	path string
	role Role
}{
	{"/spike/nexus", Nexus},
	{"/spike/keeper", Keeper},
	{"/spike/pilot/role/superuser", Superuser},
	{"/spike/pilot/role/recover", Recover},
	{"/spike/pilot/role/restore", Restore},
	{"/spike/workload/role/lite", Lite},
}

// Path returns the SPIFFE ID path of the role, or "" for one that has none.
func (r Role) Path() string {
	for _, p := range paths {
		if p.role == r {
			return p.path
		}
	}
	return ""
}

// Domains says where roles count. A role in a domain that is not listed for it
// makes its holder a plain workload, if Trusted has the domain at all.
type Domains struct {
	// Trusted lists every domain whose identities are let in (SPIKE_TRUST_ROOT).
	Trusted []spiffeid.TrustDomain
	// The others list the domains in which a component's role counts.
	Nexus, Keeper, Pilot, Lite []spiffeid.TrustDomain
}

// Of returns id's role.
func (d *Domains) Of(id spiffeid.ID) Role {
	td := id.TrustDomain()
	for _, p := range paths {
		if below(id.Path(), p.path) && slices.Contains(d.of(p.role), td) {
			return p.role
		}
	}
	if slices.Contains(d.Trusted, td) {
		return Workload
	}
	return None
}

func (d *Domains) of(r Role) []spiffeid.TrustDomain {
	switch r {
	case Nexus:
		return d.Nexus
	case Keeper:
		return d.Keeper
	case Superuser, Recover, Restore:
		return d.Pilot
	case Lite:
		return d.Lite
	case None, Workload:
	}
	return nil
}

// below reports whether path is root or lies below it; "/a/bc" is not below "/a/b".
func below(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}
