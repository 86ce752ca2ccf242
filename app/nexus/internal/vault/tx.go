package vault

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/secret"
)

// held is what the store holds, opened: what the committer works on, and what
// reads see once it is published. What it points to is never changed; a
// transaction makes other things and points to those.
type held struct {
	secrets  *index
	policies *policy.Set
	ciphers  []*cipherKey // newest first
	state    stateRecord

	policyRows map[string]rowRef // by the policies' names
	nextID     map[Table]uint64  // of new rows
}

// newHeld returns what a store without secrets holds.
func newHeld(state stateRecord) held {
	h := held{
		secrets: &index{}, policies: policy.NewSet(), state: state,
		policyRows: map[string]rowRef{}, nextID: map[Table]uint64{},
	}
	for _, table := range Tables() {
		h.nextID[table] = 1
	}
	return h
}

// rowRef is where a row is, and what it adds to the digest.
type rowRef struct {
	id  uint64
	tag seal.Digest
}

// copy returns what a transaction can change without anybody noticing.
func (h *held) copy() held {
	c := *h
	c.secrets = h.secrets.Copy()
	c.nextID = maps.Clone(h.nextID)
	return c
}

// tx is a transaction in the making: what the store holds after it, and the rows
// that get it there.
type tx struct {
	held
	keys    *seal.Keyring
	now     int64
	firstID map[Table]uint64 // rows from this id on have never reached the store
	put     map[RowKey]seal.Sealed
	remove  map[RowKey]struct{}
	anew    bool         // a new epoch begins
	header  *Header      // that replaces the present one, or nil
	made    []secret.Key // that nobody has but this transaction
}

func newTx(keys *seal.Keyring, h *held) *tx {
	return &tx{
		held: h.copy(), keys: keys, now: time.Now().UnixNano(), firstID: h.nextID,
		put: map[RowKey]seal.Sealed{}, remove: map[RowKey]struct{}{},
	}
}

// discard wipes what a transaction that came to nothing has made.
func (t *tx) discard() {
	for _, k := range t.made {
		k.Destroy()
	}
}

func (t *tx) empty() bool {
	return len(t.put) == 0 && len(t.remove) == 0 && !t.anew && t.header == nil
}

// staged is a row that was sealed, and is not yet in the books.
type staged struct {
	key    RowKey
	ref    rowRef
	sealed seal.Sealed
}

// seal seals a row for its place: that of id, or the next free one of the table
// when id is 0. skip is how many free ones are spoken for.
func (t *tx) seal(table Table, id uint64, skip int, plaintext []byte) (staged, error) {
	if id == 0 {
		id = t.nextID[table] + uint64(skip)
	}
	row := Row{Table: table, ID: id}
	sealed, err := t.keys.Seal(row.Place(), plaintext)
	if err != nil {
		return staged{}, err
	}
	tag, err := t.keys.Tag(row.Place(), sealed)
	return staged{RowKey{table, id}, rowRef{id, tag}, sealed}, err
}

// write puts a staged row into the books. One that it replaces was taken out
// with forget before.
func (t *tx) write(s staged) {
	t.put[s.key] = s.sealed
	delete(t.remove, s.key)
	t.state.digest.Toggle(s.ref.tag)
	t.state.rows++
	t.nextID[s.key.Table] = max(t.nextID[s.key.Table], s.key.ID+1)
}

// forget takes a row out of the books.
func (t *tx) forget(table Table, ref rowRef) {
	t.state.digest.Toggle(ref.tag)
	t.state.rows--
	key := RowKey{table, ref.id}
	delete(t.put, key)
	if ref.id < t.firstID[table] {
		t.remove[key] = struct{}{}
	}
}

// setSecret makes next the entry at path and works out which rows change. It
// owns next from now on. On an error nothing has changed.
func (t *tx) setSecret(path string, next *entry) error {
	old, existed := t.secrets.Get(path)
	// A version that goes leaves its row to one that comes: that changes one page of
	// a store, and not two.
	var left []uint64
	if existed {
		left = old.rowsWithout(next)
	}
	var rows []staged
	fresh := 0
	for i := range next.versions {
		v := &next.versions[i]
		if existed && v.storedAs(old) {
			continue
		}
		id := v.row.id
		if id == 0 && len(left) > 0 {
			id, left = left[0], left[1:]
		}
		record := next.record(path, v)
		s, err := t.seal(TableSecret, id, fresh, record.encode())
		if err != nil {
			return err
		}
		if id == 0 {
			fresh++
		}
		v.row = s.ref
		rows = append(rows, s)
	}
	// From here on nothing can fail.
	if existed {
		for i := range old.versions {
			v := &old.versions[i]
			if kept := next.find(int(v.number)); kept == nil || kept.row != v.row {
				t.forget(TableSecret, v.row)
			}
		}
	}
	for _, s := range rows {
		t.write(s)
	}
	t.secrets.Set(path, next)
	return nil
}

// rowsWithout returns the ids of the rows of versions that next has no more.
func (e *entry) rowsWithout(next *entry) (ids []uint64) {
	for i := range e.versions {
		if v := &e.versions[i]; next.find(int(v.number)) == nil {
			ids = append(ids, v.row.id)
		}
	}
	return ids
}

// storedAs reports whether the version's row stands in old as it should.
func (v *version) storedAs(old *entry) bool {
	o := old.find(int(v.number))
	return o != nil && o.row == v.row && o.flags == v.flags && o.changed == v.changed && o.deleted == v.deleted
}

// setPolicy writes a policy in the place of the one of its name.
func (t *tx) setPolicy(p *policy.Policy) error {
	old, existed := t.policyRows[p.Name]
	record := policyRecord{
		permissions: uint8(p.Permissions), created: p.Created.UnixNano(), updated: p.Updated.UnixNano(),
		texts: [3]string{p.Name, p.SPIFFEIDPattern, p.PathPattern},
	}
	s, err := t.seal(TablePolicy, old.id, 0, record.encode())
	if err != nil {
		return err
	}
	if existed {
		t.forget(TablePolicy, old)
	}
	t.write(s)
	t.policies = t.policies.With(p)
	t.policyRows = maps.Clone(t.policyRows)
	t.policyRows[p.Name] = s.ref
	return nil
}

// removePolicy removes the policy of that name, which must be there.
func (t *tx) removePolicy(name string) {
	t.forget(TablePolicy, t.policyRows[name])
	t.policies = t.policies.Without(name)
	t.policyRows = maps.Clone(t.policyRows)
	delete(t.policyRows, name)
}

// setCipher writes a key of the cipher service, the newest one.
func (t *tx) setCipher(k *cipherKey) error {
	record := cipherRecord{created: k.created, reserved: k.reserved, key: k.key}
	plaintext, err := record.encode()
	if err != nil {
		return err
	}
	defer clear(plaintext)
	s, err := t.seal(TableCipher, k.row.id, 0, plaintext)
	if err != nil {
		return err
	}
	rest := t.ciphers
	if k.row.id != 0 {
		t.forget(TableCipher, k.row)
		rest = rest[1:]
	}
	t.write(s)
	k.row = s.ref
	t.ciphers = append([]*cipherKey{k}, rest...)
	return nil
}

// batch returns what the store is given.
func (t *tx) batch() (Batch, error) {
	prev := t.state.sequence
	t.state.sequence++
	var header []byte
	if t.header != nil {
		var err error
		if header, err = t.header.encode(); err != nil {
			return Batch{}, err
		}
		t.state.header = headerHash(header)
	}
	state, err := t.keys.Seal(statePlace(), t.state.encode())
	if err != nil {
		return Batch{}, err
	}
	b := Batch{
		Prev: prev, State: state, Header: header,
		Put: make([]Row, 0, len(t.put)), Delete: make([]RowKey, 0, len(t.remove)),
	}
	// New rows in the order of their ids: a store appends those fastest.
	for _, table := range Tables() {
		for id := t.firstID[table]; id < t.nextID[table]; id++ {
			if s, ok := t.put[RowKey{table, id}]; ok {
				b.Put = append(b.Put, Row{table, id, s})
			}
		}
	}
	fresh := len(b.Put)
	for key, s := range t.put {
		if key.ID < t.firstID[key.Table] {
			b.Put = append(b.Put, Row{key.Table, key.ID, s})
		}
	}
	slices.SortFunc(b.Put[fresh:], func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
	for key := range t.remove {
		b.Delete = append(b.Delete, key)
	}
	return b, nil
}

func headerHash(raw []byte) [sha256.Size]byte { return sha256.Sum256(raw) }
