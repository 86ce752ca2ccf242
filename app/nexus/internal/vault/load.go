package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/secret"
)

// content is everything that a store holds, opened.
type content struct {
	held
	shares []shareRecord
}

// Unlock opens a locked vault with the secret that was split. It returns
// [ErrWrongKey] when s is another store's, and then the vault stays locked; on
// any other error the vault has failed. A store that is behind one of the anchors
// that Keepers hold is not served. A vault that is open already is left as it is.
// The caller keeps s, and destroys it.
func (v *Vault) Unlock(ctx context.Context, s secret.Key, anchors []keeper.Anchor) error {
	v.lifecycle.Lock()
	defer v.lifecycle.Unlock()
	switch v.State() {
	case api.StateOpen, api.StateBehind:
		return nil
	case api.StateLocked:
	default:
		return ErrClosed
	}
	header := v.Header()
	keys, err := header.unlock(s)
	if err != nil {
		return err
	}
	c, err := v.load(ctx, keys)
	var behind *Rollback
	if err == nil {
		behind, err = worst(keys, &c.state, anchors)
	}
	if err != nil {
		keys.Destroy()
		if ctx.Err() != nil {
			return err
		}
		v.fail(err)
		return err
	}
	v.open(header, keys, c, behind)
	v.log.Info("unlocked", "state", v.State(), "secrets", c.secrets.Len(), "sequence", c.state.sequence)
	return nil
}

// loadChunk is how many rows a worker takes at once.
const loadChunk = 256

// load reads, opens and checks every row of the store.
func (v *Vault) load(ctx context.Context, keys *seal.Keyring) (*content, error) {
	chunks := make(chan []Row, 4)
	workers := make([]loader, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range workers {
		opener, err := keys.NewOpener()
		if err != nil {
			close(chunks)
			wg.Wait()
			return nil, err
		}
		workers[i] = newLoader(keys)
		wg.Go(func() {
			defer opener.Close()
			workers[i].run(opener, chunks)
		})
	}
	chunk := make([]Row, 0, loadChunk)
	header, state, err := v.store.Load(ctx, func(r Row) error {
		if chunk = append(chunk, r); len(chunk) == loadChunk {
			chunks <- chunk
			chunk = make([]Row, 0, loadChunk)
		}
		return nil
	})
	chunks <- chunk
	close(chunks)
	wg.Wait()

	// Two and two, so that no row is moved more often than it must.
	for step := 1; step < len(workers); step *= 2 {
		for i := 0; i+step < len(workers); i += 2 * step {
			workers[i].merge(&workers[i+step])
		}
	}
	all := &workers[0]
	var c *content
	if err == nil {
		c, err = all.content(header, state)
	}
	if err != nil {
		all.destroy()
		return nil, fmt.Errorf("load the store: %w", err)
	}
	return c, nil
}

// loader opens rows and collects what was in them.
type loader struct {
	keys     *seal.Keyring
	digest   seal.Digest
	rows     uint64
	nextID   map[Table]uint64
	versions []loaded // sorted once all are there
	shares   []shareRecord
	policies []*policy.Policy
	refs     map[string]rowRef // of the policies
	ciphers  []*cipherKey
	bad      []string // rows that cannot be what SPIKE wrote, the first few
	badCount int
	err      error
}

func newLoader(keys *seal.Keyring) loader {
	return loader{keys: keys, nextID: map[Table]uint64{}, refs: map[string]rowRef{}}
}

// destroy wipes the key material that was read.
func (l *loader) destroy() {
	for _, s := range l.shares {
		s.value.Destroy()
	}
	for _, k := range l.ciphers {
		k.key.Destroy()
	}
}

// loaded is a version, as the only one of an entry: most secrets have no other.
type loaded struct {
	path string
	*entry
}

// compare orders by path and number.
func (a loaded) compare(b loaded) int {
	if c := strings.Compare(a.path, b.path); c != 0 {
		return c
	}
	return cmp.Compare(a.current().number, b.current().number)
}

// merged is what two sorted lists have, sorted.
func merged(a, b []loaded) []loaded {
	both := make([]loaded, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].compare(b[0]) > 0 {
			a, b = b, a
		}
		both, a = append(both, a[0]), a[1:]
	}
	return append(append(both, a...), b...)
}

// single is an entry with its version, in one piece of memory.
type single struct {
	entry
	only [1]version
}

func (l *loader) run(opener *seal.Opener, chunks <-chan []Row) {
	for chunk := range chunks {
		for i := range chunk {
			l.row(opener, &chunk[i])
		}
	}
	slices.SortFunc(l.versions, loaded.compare)
}

func (l *loader) row(opener *seal.Opener, r *Row) {
	l.rows++
	tag := opener.Tag(r.Place(), r.Sealed)
	l.digest.Toggle(tag)
	plaintext, err := opener.Open(r.Place(), r.Sealed)
	if err != nil {
		l.reject(r)
		return
	}
	l.nextID[r.Table] = max(l.nextID[r.Table], r.ID+1)
	switch err := l.record(r.Table, rowRef{r.ID, tag}, plaintext); {
	case errors.Is(err, errRecord):
		l.reject(r)
	case err != nil:
		l.err = err
	}
}

// record reads what is in a row that authenticates, and keeps nothing of plaintext.
// It returns errRecord when that is nothing that belongs there.
func (l *loader) record(table Table, ref rowRef, plaintext []byte) error {
	switch table {
	case TableSecret:
		record, err := decodeVersion(plaintext)
		if err != nil {
			return err
		}
		e := &single{entry: entry{first: record.first}, only: [1]version{{
			number: record.version, flags: record.flags, created: record.created, changed: record.changed,
			deleted: record.deleted, values: secret.NewBytes(record.values), row: ref,
		}}}
		e.versions = e.only[:]
		l.versions = append(l.versions, loaded{record.path, &e.entry})
	case TableShare:
		record, err := decodeShare(plaintext)
		if err != nil {
			return err
		}
		l.shares = append(l.shares, record)
	case TablePolicy:
		record, err := decodePolicy(plaintext)
		if err != nil {
			return err
		}
		p, err := policy.Recompile(policy.Policy{
			Name: record.texts[0], SPIFFEIDPattern: record.texts[1], PathPattern: record.texts[2],
			Permissions: policy.Permission(record.permissions),
			Created:     time.Unix(0, record.created).UTC(), Updated: time.Unix(0, record.updated).UTC(),
		})
		if err != nil {
			return fmt.Errorf("policy row %d: %w", ref.id, err)
		}
		l.policies = append(l.policies, p)
		l.refs[p.Name] = ref
	case TableCipher:
		record, err := decodeCipher(plaintext)
		if err != nil {
			return err
		}
		k, err := newCipherKey(record.key, record.created, record.reserved)
		if err != nil {
			return err
		}
		k.row = ref
		l.ciphers = append(l.ciphers, k)
	default:
		return errRecord
	}
	return nil
}

func (l *loader) reject(r *Row) {
	l.badCount++
	if len(l.bad) < 5 {
		l.bad = append(l.bad, fmt.Sprintf("%s %d", r.Table, r.ID))
	}
}

func (l *loader) merge(other *loader) {
	l.digest.Toggle(other.digest)
	l.rows += other.rows
	for table, id := range other.nextID {
		l.nextID[table] = max(l.nextID[table], id)
	}
	l.policies = append(l.policies, other.policies...)
	maps.Copy(l.refs, other.refs)
	l.ciphers = append(l.ciphers, other.ciphers...)
	l.versions = merged(l.versions, other.versions)
	other.versions = nil // they are many, and there twice now
	l.shares = append(l.shares, other.shares...)
	l.bad = append(l.bad, other.bad...)
	l.badCount += other.badCount
	l.err = errors.Join(l.err, other.err)
}

// content checks everything that was read against the state row, and sorts it.
func (l *loader) content(header []byte, state State) (*content, error) {
	if l.err != nil {
		return nil, l.err
	}
	s, found := l.judge(header, state)
	if len(found) > 0 {
		return nil, damaged("%s", strings.Join(found, ", and "))
	}
	secrets, err := assemble(l.versions)
	if err != nil {
		return nil, err
	}
	if len(l.refs) != len(l.policies) {
		return nil, damaged("a policy is there twice")
	}
	slices.SortFunc(l.ciphers, func(a, b *cipherKey) int { return cmp.Compare(b.row.id, a.row.id) })
	h := newHeld(s)
	h.secrets, h.policies, h.policyRows, h.ciphers = secrets, policy.NewSet(l.policies...), l.refs, l.ciphers
	maps.Copy(h.nextID, l.nextID)
	return &content{held: h, shares: l.shares}, nil
}

// judge returns what the state row says, and everything that is found to be wrong:
// one fault must not hide another from whoever looks into the cause.
func (l *loader) judge(header []byte, state State) (s stateRecord, found []string) {
	note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if l.badCount > 0 {
		note("%d of %d rows %s (%s)", l.badCount, l.rows,
			plural(uint64(l.badCount), "does not authenticate or was moved", "do not authenticate or were moved"),
			strings.Join(l.bad[:min(5, len(l.bad))], ", "))
	}
	plaintext, err := l.keys.Open(statePlace(), state.Sealed)
	if err == nil {
		s, err = decodeState(plaintext)
	}
	if err != nil {
		note("the state row does not authenticate")
		return s, found
	}
	if s.header != headerHash(header) {
		note("the header was changed")
	}
	if s.sequence != state.Sequence {
		note("it says that it is at commit %d, but its state row is of commit %d", state.Sequence, s.sequence)
	}
	switch {
	case s.rows > l.rows:
		note("%d of %d rows %s missing", s.rows-l.rows, s.rows, plural(s.rows-l.rows, "is", "are"))
	case s.rows < l.rows:
		note("%d %s to it", l.rows-s.rows, plural(l.rows-s.rows, "row is there that does not belong", "rows are there that do not belong"))
	case len(found) == 0 && s.digest != l.digest:
		note("all %d rows authenticate, but one or more were replaced by older copies of themselves", l.rows)
	}
	return s, found
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// assemble makes entries out of sorted versions.
func assemble(versions []loaded) (*index, error) {
	secrets := &index{}
	for len(versions) > 0 {
		first := versions[0]
		n := 1
		for ; n < len(versions) && versions[n].path == first.path; n++ {
			if number := versions[n].current().number; number == versions[n-1].current().number {
				return nil, damaged("a secret has version %d twice", number)
			}
		}
		e := first.entry
		if n > 1 {
			e = &entry{first: first.first, versions: make([]version, 0, n)}
			for _, v := range versions[:n] {
				e.versions = append(e.versions, v.versions...)
			}
		}
		secrets.Load(first.path, e)
		versions = versions[n:]
	}
	return secrets, nil
}
