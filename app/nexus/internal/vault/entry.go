package vault

import (
	"slices"

	"github.com/tidwall/btree"

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

	row rowRef // its id is 0 for one not yet stored
}

// current is the highest version that was ever written.
func (e *entry) current() *version { return &e.versions[len(e.versions)-1] }

// size is how many bytes of values the entry has.
func (e *entry) size() (n int) {
	for i := range e.versions {
		n += e.versions[i].values.Len()
	}
	return n
}

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
		// A destroyed version was kept for its number alone, which a higher one has now.
		next.versions = slices.DeleteFunc(slices.Clone(e.versions), func(v version) bool { return v.flags&flagDestroyed != 0 })
		next.versions = next.versions[max(0, len(next.versions)-keep+1):]
	}
	next.versions = append(next.versions, version{number: number, created: now, changed: now, values: values})
	return next
}

// withDeleted returns the entry after a soft delete of the versions named, or nil
// when none of them is there to delete.
func (e *entry) withDeleted(numbers []int, now int64) *entry {
	return e.changed(numbers, func(v *version) bool {
		if v.flags != 0 {
			return false
		}
		v.flags, v.deleted, v.changed = flagDeleted, now, now
		return true
	})
}

// withUndeleted is the way back.
func (e *entry) withUndeleted(numbers []int, now int64) *entry {
	return e.changed(numbers, func(v *version) bool {
		if v.flags != flagDeleted {
			return false
		}
		v.flags, v.deleted, v.changed = 0, 0, now
		return true
	})
}

// withDestroyed returns the entry without the values of the versions named, or
// nil when none of them has any. The current version's number stays taken, since
// numbers never repeat; the others are removed.
func (e *entry) withDestroyed(numbers []int, now int64) *entry {
	next := e.changed(numbers, func(v *version) bool {
		if v.flags&flagDestroyed != 0 {
			return false
		}
		if v.flags&flagDeleted == 0 {
			v.deleted = now
		}
		v.flags, v.changed, v.values = flagDeleted|flagDestroyed, now, secret.Bytes{}
		return true
	})
	if next != nil {
		last := next.current().number
		next.versions = slices.DeleteFunc(next.versions, func(v version) bool {
			return v.flags&flagDestroyed != 0 && v.number != last
		})
	}
	return next
}

// changed applies change to the versions named, 0 or none being the current one.
// It returns nil when nothing changed; versions that are not there are passed
// over.
func (e *entry) changed(numbers []int, change func(*version) bool) *entry {
	if len(numbers) == 0 {
		numbers = []int{0}
	}
	next := &entry{first: e.first, versions: slices.Clone(e.versions)}
	any := false
	for _, n := range numbers {
		if v := next.find(n); v != nil && change(v) {
			any = true
		}
	}
	if !any {
		return nil
	}
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
