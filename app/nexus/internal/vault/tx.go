package vault

import (
	"crypto/sha256"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/seal"
)

// tx is a transaction in the making: the secrets as they are after it, and the
// rows that get the store there.
type tx struct {
	keys    *seal.Keyring
	now     int64
	secrets *index
	state   stateRecord // of the last commit, with rows and digest kept up
	firstID uint64      // rows from this id on have never reached the store
	nextID  uint64
	put     map[RowKey]seal.Sealed
	remove  map[RowKey]struct{}
}

func newTx(c *committer) *tx {
	return &tx{
		keys: c.keys, now: time.Now().UnixNano(),
		secrets: c.secrets.Copy(), state: c.state, firstID: c.nextID, nextID: c.nextID,
		put: map[RowKey]seal.Sealed{}, remove: map[RowKey]struct{}{},
	}
}

func (t *tx) empty() bool { return len(t.put) == 0 && len(t.remove) == 0 }

// set makes next the entry at path and works out which rows change. It owns next
// from now on. On an error nothing has changed.
func (t *tx) set(path string, next *entry) error {
	old, existed := t.secrets.Get(path)
	nextID := t.nextID
	sealed := map[uint64]seal.Sealed{}
	for i := range next.versions {
		v := &next.versions[i]
		if existed && v.storedAs(old) {
			continue
		}
		if v.row == 0 {
			v.row = nextID
			nextID++
		}
		s, tag, err := t.seal(path, next, v)
		if err != nil {
			return err
		}
		v.tag = tag
		sealed[v.row] = s
	}
	// From here on nothing can fail.
	t.nextID = nextID
	if existed {
		for i := range old.versions {
			t.drop(&old.versions[i], next, sealed)
		}
	}
	for i := range next.versions {
		v := &next.versions[i]
		if s, ok := sealed[v.row]; ok {
			t.put[RowKey{TableSecret, v.row}] = s
			t.state.digest.Toggle(v.tag)
			t.state.rows++
		}
	}
	t.secrets.Set(path, next)
	return nil
}

func (t *tx) seal(path string, e *entry, v *version) (seal.Sealed, seal.Digest, error) {
	record := e.record(path, v)
	place := Row{Table: TableSecret, ID: v.row}.Place()
	s, err := t.keys.Seal(place, record.encode())
	if err != nil {
		return seal.Sealed{}, seal.Digest{}, err
	}
	tag, err := t.keys.Tag(place, s)
	return s, tag, err
}

// storedAs reports whether the version's row stands in old as it should.
func (v *version) storedAs(old *entry) bool {
	o := old.find(int(v.number))
	return o != nil && o.row == v.row && o.flags == v.flags && o.changed == v.changed && o.deleted == v.deleted
}

// drop takes the row of an old version out of the books, unless next keeps it as
// it is.
func (t *tx) drop(v *version, next *entry, sealed map[uint64]seal.Sealed) {
	_, rewritten := sealed[v.row]
	if !rewritten && next.find(int(v.number)) != nil {
		return
	}
	t.state.digest.Toggle(v.tag)
	t.state.rows--
	if rewritten {
		return
	}
	key := RowKey{TableSecret, v.row}
	delete(t.put, key)
	if v.row < t.firstID {
		t.remove[key] = struct{}{}
	}
}

// batch returns what the store is given, and the state after it.
func (t *tx) batch() (Batch, stateRecord, error) {
	next := t.state
	next.sequence++
	state, err := t.keys.Seal(statePlace(), next.encode())
	if err != nil {
		return Batch{}, next, err
	}
	b := Batch{
		Prev: t.state.sequence, State: state,
		Put: make([]Row, 0, len(t.put)), Delete: make([]RowKey, 0, len(t.remove)),
	}
	// New rows in the order of their ids: a store appends those fastest.
	for id := t.firstID; id < t.nextID; id++ {
		if s, ok := t.put[RowKey{TableSecret, id}]; ok {
			b.Put = append(b.Put, Row{TableSecret, id, s})
		}
	}
	for key, s := range t.put {
		if key.ID < t.firstID {
			b.Put = append(b.Put, Row{key.Table, key.ID, s})
		}
	}
	for key := range t.remove {
		b.Delete = append(b.Delete, key)
	}
	return b, next, nil
}

func headerHash(raw []byte) [sha256.Size]byte { return sha256.Sum256(raw) }
