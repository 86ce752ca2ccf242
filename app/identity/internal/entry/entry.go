// Package entry reads the files that say which process is given which SPIFFE
// ID, and follows them as they change.
package entry

import (
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Entry gives one SPIFFE ID to the processes that fit all of its selectors.
type Entry struct {
	ID spiffeid.ID

	// Path names the executable, absolute; empty means any executable.
	Path string

	// UID is always compared. An entry that names none has the provider's own.
	UID uint32

	// GID is the caller's primary group; nil means any.
	GID *uint32

	// Place is where the entry stands, as file:line.
	Place string
}

// Set is everything that the files of one provider say together.
type Set struct {
	TrustDomain spiffeid.TrustDomain

	// TTL is the lifetime of an SVID.
	TTL time.Duration

	// Entries are in the order of the files as they were named, and within a
	// file from the top down. A caller's SVIDs come in this order.
	Entries []Entry
}

// String sums the set up for a log line or a person.
func (s *Set) String() string {
	return fmt.Sprintf("%d entries in trust domain %s, SVIDs live %s",
		len(s.Entries), s.TrustDomain.Name(), s.TTL)
}

// selectors is what makes two entries for one ID the same entry.
type selectors struct {
	id       spiffeid.ID
	path     string
	uid, gid uint32
	anyGroup bool
}

func (e Entry) selectors() selectors {
	s := selectors{id: e.ID, path: e.Path, uid: e.UID, anyGroup: e.GID == nil}
	if e.GID != nil {
		s.gid = *e.GID
	}
	return s
}
