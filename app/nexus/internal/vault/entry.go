package vault

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// index has all secrets by path, in byte order. Copy is cheap: copies share what
// neither of them changed.
type index = btree.Map[string, *entry]

// entry is one secret with its versions. It is never changed once it is in an
// index: a change makes another entry.
type entry struct {
	first    int64     // when the first version was written, Unix nanoseconds
	versions []version // by number, ascending; never empty
}

// version is one version of a secret, and where its row is.
type version struct {
	number  uint32
	flags   uint8
	created int64
	changed int64
	deleted int64
	values  secret.Bytes // a JSON object of strings

	row uint64      // the row's id; 0 for one not yet stored
	tag seal.Digest // what the row adds to the digest
}

// current is the highest version that was ever written.
func (e *entry) current() *version { return &e.versions[len(e.versions)-1] }

// find returns the version with that number, or nil. 0 is the current one.
func (e *entry) find(number int) *version {
	if number == 0 {
		return e.current()
	}
	for i := range e.versions {
		if int(e.versions[i].number) == number {
			return &e.versions[i]
		}
	}
	return nil
}

// readable returns the version's values unless it is deleted.
func (e *entry) readable(number int) (secret.Bytes, error) {
	v := e.find(number)
	if v == nil || v.flags != 0 {
		return secret.Bytes{}, api.ErrNotFound
	}
	return v.values, nil
}

// withNew returns the entry after one more version, of which there are then at
// most keep. The receiver may be nil.
func (e *entry) withNew(values secret.Bytes, now int64, keep int) *entry {
	next := &entry{first: now}
	number := uint32(1)
	if e != nil {
		next.first = e.first
		number = e.current().number + 1
		next.versions = e.versions[max(0, len(e.versions)-keep+1):]
	}
	next.versions = append(slices.Clone(next.versions),
		version{number: number, created: now, changed: now, values: values})
	return next
}

// record is the row of one of the entry's versions.
func (e *entry) record(path string, v *version) versionRecord {
	return versionRecord{
		path: path, version: v.number, flags: v.flags,
		first: e.first, created: v.created, changed: v.changed, deleted: v.deleted,
		values: v.values.Expose(),
	}
}
