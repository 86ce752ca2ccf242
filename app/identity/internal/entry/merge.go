package entry

import (
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// merge joins files that were each decoded without fault. owner is the uid for
// entries that name none. A file that leaves out the trust domain or the ttl
// goes along with the others.
func merge(docs []*document, owner uint32) (*Set, error) {
	var errs []error
	set := &Set{TTL: defaultTTL}
	domainPlace, ttlPlace := "", ""
	for _, doc := range docs {
		if doc.trustDomainLine > 0 {
			here := place(doc.name, doc.trustDomainLine)
			if domainPlace != "" && doc.trustDomain != set.TrustDomain {
				errs = append(errs, fmt.Errorf("%s: trust_domain %s is not the %s of %s; one provider serves one trust domain",
					here, doc.trustDomain.Name(), set.TrustDomain.Name(), domainPlace))
			} else {
				set.TrustDomain, domainPlace = doc.trustDomain, here
			}
		}
		if doc.ttlLine > 0 {
			here := place(doc.name, doc.ttlLine)
			if ttlPlace != "" && doc.ttl != set.TTL {
				errs = append(errs, fmt.Errorf("%s: ttl %s is not the %s of %s; give it in one file, or the same in all",
					here, doc.ttl, set.TTL, ttlPlace))
			} else {
				set.TTL, ttlPlace = doc.ttl, here
			}
		}
	}
	if domainPlace == "" {
		errs = append(errs, errors.New("no file gives the trust_domain; add a line such as trust_domain: spike.ist"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	// A doubled entry changes nothing for callers, but whoever takes one of the two
	// out believes that the identity is gone.
	seen := map[selectors]string{}
	for _, doc := range docs {
		for _, raw := range doc.entries {
			e, err := resolve(raw, doc.name, set.TrustDomain, owner)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if first, ok := seen[e.selectors()]; ok {
				errs = append(errs, fmt.Errorf("%s: the same entry for %s stands at %s already; take one out", e.Place, e.ID, first))
				continue
			}
			seen[e.selectors()] = e.Place
			set.Entries = append(set.Entries, e)
		}
	}
	if len(set.Entries) > maxEntries {
		errs = append(errs, fmt.Errorf("%d entries are too many; at most %d are served", len(set.Entries), maxEntries))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return set, nil
}

// resolve completes an entry by what the whole set and the provider say.
func resolve(raw rawEntry, file string, td spiffeid.TrustDomain, owner uint32) (Entry, error) {
	e := Entry{Path: raw.path, UID: owner, GID: raw.gid, Place: place(file, raw.line)}
	if raw.uid != nil {
		e.UID = *raw.uid
	}
	id, err := spiffeid.FromPath(td, raw.id)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: id %q: %w", e.Place, raw.id, err)
	}
	if n := len(id.String()); n > maxIDLength {
		return Entry{}, fmt.Errorf("%s: the SPIFFE ID has %d bytes; at most %d are allowed", e.Place, n, maxIDLength)
	}
	e.ID = id
	return e, nil
}

// place is how errors and notes point at an entry.
func place(file string, line int) string {
	return fmt.Sprintf("%s:%d", file, line)
}
