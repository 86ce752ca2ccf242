package vault_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

func edited(s seal.Sealed, at int) seal.Sealed {
	b := bytes.Clone(s.Bytes())
	b[at] ^= 1
	return seal.FromStore(b)
}

// TestEveryKindOfDamage: an edited, missing, added, swapped or replayed row, and
// a changed header or state, are found before anything is served.
func TestEveryKindOfDamage(t *testing.T) {
	f := newFixture(t)
	f.put("a", "v1")
	f.put("b", "v1")
	earlier := f.disk.read(t)
	f.put("a", "v2")
	now := f.disk.read(t)
	row := func(c content, table vault.Table, n int) *vault.Row {
		for i := range c.rows {
			if c.rows[i].Table == table {
				if n == 0 {
					return &c.rows[i]
				}
				n--
			}
		}
		t.Fatal("no such row")
		return nil
	}
	for name, c := range map[string]struct {
		tamper func(content) content
		want   string
	}{
		"edited secret": {func(c content) content {
			r := row(c, vault.TableSecret, 1)
			r.Sealed = edited(r.Sealed, 30)
			return c
		}, "1 of 9 rows does not authenticate or was moved (secret 2)"},
		"edited share": {func(c content) content {
			r := row(c, vault.TableShare, 0)
			r.Sealed = edited(r.Sealed, 0)
			return c
		}, "(share 1)"},
		"missing": {func(c content) content {
			c.rows = c.rows[1:]
			return c
		}, "1 of 9 rows is missing"},
		"added": {func(c content) content {
			r := c.rows[0]
			r.ID = 77
			c.rows = append(c.rows, r)
			return c
		}, "1 of 10 rows does not authenticate or was moved (secret 77), and 1 row is there that does not belong to it"},
		"edited, and another missing": {func(c content) content {
			r := row(c, vault.TableSecret, 1)
			r.Sealed = edited(r.Sealed, 30)
			c.rows = c.rows[1:]
			return c
		}, "1 of 8 rows does not authenticate or was moved (secret 2), and 1 of 9 rows is missing"},
		"edited, with the state": {func(c content) content {
			r := row(c, vault.TableSecret, 1)
			r.Sealed = edited(r.Sealed, 30)
			c.state.Sealed = edited(c.state.Sealed, 40)
			return c
		}, "1 of 9 rows does not authenticate or was moved (secret 2), and the state row does not authenticate"},
		"of everything": {func(c content) content {
			for n := range 2 {
				r := row(c, vault.TableSecret, n)
				r.Sealed = edited(r.Sealed, 30)
			}
			c.rows = c.rows[:len(c.rows)-2]
			c.state.Sequence++
			c.header = bytes.Replace(c.header, []byte("https://k1"), []byte("https://x1"), 1)
			return c
		}, "2 of 7 rows do not authenticate or were moved (secret 1, secret 2), and the header was changed, " +
			"and it says that it is at commit 5, but its state row is of commit 4, and 2 of 9 rows are missing; put a backup"},
		"twice": {func(c content) content {
			c.rows = append(c.rows, c.rows[0])
			return c
		}, "1 row is there that does not belong"},
		"swapped": {func(c content) content {
			a, b := row(c, vault.TableSecret, 0), row(c, vault.TableSecret, 1)
			a.Sealed, b.Sealed = b.Sealed, a.Sealed
			return c
		}, "2 of 9 rows"},
		"moved to another table": {func(c content) content {
			row(c, vault.TableSecret, 0).Table = vault.TableShare
			return c
		}, "1 of 9 rows"},
		"replayed state": {func(c content) content {
			c.state = earlier.state
			return c
		}, "1 row is there that does not belong"},
		"replayed state row, present number": {func(c content) content {
			c.state.Sealed = earlier.state.Sealed
			return c
		}, "it is at commit 4, but its state row is of commit 3"},
		"edited state": {func(c content) content {
			c.state.Sealed = edited(c.state.Sealed, 40)
			return c
		}, "the state row does not authenticate"},
		"edited header": {func(c content) content {
			c.header = bytes.Replace(c.header, []byte("https://k1"), []byte("https://x1"), 1)
			return c
		}, "the header was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			f.disk.tamper = func(content) content {
				return c.tamper(content{bytes.Clone(now.header), now.state, slices.Clone(now.rows)})
			}
			defer func() { f.disk.tamper = nil }()
			v := newVault(t, f.disk, f.trail)
			err := v.Unlock(t.Context(), f.birth.Secret, nil)
			if !errors.Is(err, vault.ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
			select {
			case <-v.Failed():
			default:
				t.Error("the vault did not fail")
			}
			if _, err := v.GetSecret(t.Context(), admin, &api.SecretGetRequest{Path: "a"}); !errors.Is(err, api.ErrNotReady) {
				t.Errorf("a damaged store was served: %v", err)
			}
		})
	}
}

// TestReplayedRow puts an older copy of a row, which authenticates in its place,
// back into a store that has a newer one.
func TestReplayedRow(t *testing.T) {
	f := newFixture(t)
	f.put("a", "v1")
	earlier := f.disk.read(t)
	f.put("a", "v2")
	f.put("a", "v3")
	f.put("a", "v4") // version 1 and its row are gone
	f.disk.tamper = func(c content) content {
		c.rows[0] = earlier.rows[0]
		return c
	}
	f.restart()
	err := f.vault.Unlock(t.Context(), f.birth.Secret, nil)
	if !errors.Is(err, vault.ErrDamaged) || !strings.Contains(err.Error(), "older copies") {
		t.Errorf("got %v", err)
	}
}

// TestOtherCluster: what another cluster sealed under its own key does not pass,
// though the shape of everything is right.
func TestOtherCluster(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	f.put("a", "v1")
	other.put("a", "forged")
	foreign := other.disk.read(t)
	f.disk.tamper = func(c content) content {
		c.rows = foreign.rows
		return c
	}
	f.restart()
	if err := f.vault.Unlock(t.Context(), f.birth.Secret, nil); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// TestReadErrorIsNotDamage: a disk that cannot be read says nothing of the store.
func TestReadErrorIsNotDamage(t *testing.T) {
	f := newFixture(t)
	f.put("a", "v1")
	f.disk.tamper = func(c content) content { return c }
	f.disk.broken = errors.New("input/output error")
	f.restart()
	err := f.vault.Unlock(t.Context(), f.birth.Secret, nil)
	if errors.Is(err, vault.ErrDamaged) || !errors.Is(err, f.disk.broken) {
		t.Errorf("got %v", err)
	}
}
