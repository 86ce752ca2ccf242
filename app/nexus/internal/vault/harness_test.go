package vault_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	admin   = vault.Caller{ID: "spiffe://spike.ist/spike/pilot/role/superuser", Role: role.Superuser, Request: "r"}
	visitor = vault.Caller{ID: "spiffe://spike.ist/web", Role: role.Workload, Request: "r"}
)

// trail is an audit log in memory.
type trail struct {
	mu      sync.Mutex
	entries []vault.Entry
	broken  bool
	discard bool // nothing is kept
}

func (t *trail) write(_ context.Context, e vault.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken {
		return errors.New("audit disk full")
	}
	if !t.discard {
		t.entries = append(t.entries, e)
	}
	return nil
}

func (t *trail) take() []vault.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries
	t.entries = nil
	return e
}

// disk is a store whose commits a test can count, hold up and spoil, and that
// outlives the vault that uses it.
type disk struct {
	*memory.Store
	mu      sync.Mutex
	commits int
	batches []vault.Batch
	forget  bool                    // what was committed; only how often is known
	before  func(vault.Batch) error // called for each commit, and may refuse it
	tamper  func(content) content   // what a later Load sees
	broken  error                   // what a later Load of rows ends with
}

type content struct {
	header []byte
	state  vault.State
	rows   []vault.Row
}

func newDisk() *disk { return &disk{Store: memory.New()} }

func (d *disk) Commit(ctx context.Context, b vault.Batch) error {
	d.mu.Lock()
	before := d.before
	d.commits++
	if !d.forget {
		d.batches = append(d.batches, b)
	}
	d.mu.Unlock()
	if before != nil {
		if err := before(b); err != nil {
			return err
		}
	}
	return d.Store.Commit(ctx, b)
}

func (d *disk) hook(before func(vault.Batch) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = before
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commits
}

func (d *disk) read(t testing.TB) content {
	t.Helper()
	var c content
	var err error
	c.header, c.state, err = d.Store.Load(t.Context(), func(r vault.Row) error {
		c.rows = append(c.rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *disk) Load(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	if d.tamper == nil {
		return d.Store.Load(ctx, row)
	}
	var c content
	var err error
	c.header, c.state, err = d.Store.Load(ctx, func(r vault.Row) error {
		c.rows = append(c.rows, r)
		return nil
	})
	if err != nil {
		return nil, vault.State{}, err
	}
	c = d.tamper(c)
	for _, r := range c.rows {
		if row == nil {
			break
		}
		if d.broken != nil {
			return nil, vault.State{}, d.broken
		}
		if err := row(r); err != nil {
			return nil, vault.State{}, err
		}
	}
	return c.header, c.state, nil
}

func (d *disk) Close() error { return nil }

// fixture is a cluster's vault on a disk, with the secret that opens it.
type fixture struct {
	t     testing.TB
	disk  *disk
	birth *vault.Birth
	trail *trail
	vault *vault.Vault
}

func newVault(t testing.TB, d *disk, tr *trail) *vault.Vault {
	t.Helper()
	v, err := vault.New(t.Context(), vault.Config{
		Store: d, Audit: tr.write, Log: slog.New(slog.DiscardHandler), MaxVersions: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// newFixture returns an open vault of a new cluster.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, disk: newDisk(), trail: &trail{}}
	birth, err := vault.NewBirth([]string{"https://k1", "https://k2", "https://k3"}, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(birth.Destroy)
	f.birth = birth
	f.vault = newVault(t, f.disk, f.trail)
	if err := f.vault.Create(t.Context(), birth); err != nil {
		t.Fatal(err)
	}
	return f
}

// restart closes the vault and returns a locked one on the same disk.
func (f *fixture) restart() *vault.Vault {
	f.t.Helper()
	if err := f.vault.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.vault = newVault(f.t, f.disk, f.trail)
	return f.vault
}

// close ends the fixture before its test does: key material is on locked pages,
// of which there are not many.
func (f *fixture) close() {
	if err := f.vault.Close(); err != nil {
		f.t.Error(err)
	}
	f.birth.Destroy()
}

func (f *fixture) unlock() {
	f.t.Helper()
	if err := f.vault.Unlock(f.t.Context(), f.birth.Secret, nil); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) put(path, value string) int {
	f.t.Helper()
	version, err := f.vault.PutSecret(f.t.Context(), admin, put(path, value))
	if err != nil {
		f.t.Fatalf("put %s: %v", path, err)
	}
	return version
}

func put(path, value string) *api.SecretPutRequest {
	return &api.SecretPutRequest{Path: path, Values: api.Values{"k": value}}
}

func (f *fixture) get(path string, version int) (string, error) {
	f.t.Helper()
	values, err := f.vault.GetSecret(f.t.Context(), admin, &api.SecretGetRequest{Path: path, Version: version})
	return string(values.Expose()), err
}

func (f *fixture) wantGet(path string, version int, want string) {
	f.t.Helper()
	if got, err := f.get(path, version); err != nil || got != `{"k":"`+want+`"}` {
		f.t.Errorf("%s version %d: got %s, %v; want %s", path, version, got, err, want)
	}
}

func (f *fixture) wantErr(path string, version int, want error) {
	f.t.Helper()
	if got, err := f.get(path, version); !errors.Is(err, want) {
		f.t.Errorf("%s version %d: got %s, %v; want %v", path, version, got, err, want)
	}
}
