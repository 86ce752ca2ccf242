package vault_test

import (
	"errors"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
)

func (f *fixture) anchor() keeper.Anchor {
	f.t.Helper()
	a, ok := f.vault.Anchor()
	if !ok {
		f.t.Fatal("there is no anchor")
	}
	return a
}

// rolledBack returns a fixture whose store was put back from commit 4 to commit 2,
// and the anchors of those two and the one between.
func rolledBack(t *testing.T) (*fixture, []keeper.Anchor) {
	f := newFixture(t)
	f.put("a", "v1")
	anchors := []keeper.Anchor{f.anchor()}
	earlier := f.disk.read(t)
	f.put("a", "v2")
	anchors = append(anchors, f.anchor())
	f.put("a", "v3")
	anchors = append(anchors, f.anchor())
	old := newDisk()
	if err := old.restoreTo(t, earlier); err != nil {
		t.Fatal(err)
	}
	if err := f.vault.Close(); err != nil {
		t.Fatal(err)
	}
	f.disk = old
	f.vault = newVault(t, f.disk, f.trail)
	return f, anchors
}

// restoreTo makes the disk hold c and nothing else.
func (d *disk) restoreTo(t *testing.T, c content) error {
	for n := uint64(0); n < c.state.Sequence; n++ {
		b := vault.Batch{Prev: n, State: c.state.Sealed}
		if n == 0 {
			b.Header, b.Put = c.header, c.rows
		}
		if err := d.Store.Commit(t.Context(), b); err != nil {
			return err
		}
	}
	return nil
}

func (f *fixture) unlockWith(anchors ...keeper.Anchor) {
	f.t.Helper()
	if err := f.vault.Unlock(f.t.Context(), f.birth.Secret, anchors); err != nil {
		f.t.Fatal(err)
	}
}

func TestRolledBackStoreIsNotServed(t *testing.T) {
	f, anchors := rolledBack(t)
	f.unlockWith(anchors...)
	if f.vault.State() != api.StateBehind {
		t.Fatalf("it is %s", f.vault.State())
	}
	f.wantErr("a", 0, api.ErrNotReady)
	if _, err := f.vault.PutSecret(t.Context(), admin, put("a", "x")); !errors.Is(err, api.ErrNotReady) {
		t.Errorf("a write: %v", err)
	}
	if _, ok := f.vault.Anchor(); ok {
		t.Error("Keepers would be told of a store that is not served")
	}
	if r := f.vault.Rollback(); r.Sequence != 2 || r.ToldSequence != 4 {
		t.Errorf("got %+v", r)
	}

	for r := role.None; r <= role.Lite; r++ {
		if r == role.Superuser {
			continue
		}
		if _, err := f.vault.AcceptRollback(t.Context(), vault.Caller{Role: r}, 2); !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("%s may accept: %v", r, err)
		}
	}
	if _, err := f.vault.AcceptRollback(t.Context(), admin, 4); !errors.Is(err, api.ErrVersionConflict) {
		t.Errorf("another sequence: %v", err)
	}
	if _, err := f.vault.AcceptRollback(t.Context(), admin, 2); err != nil {
		t.Fatal(err)
	}
	f.wantGet("a", 0, "v1")
	f.put("a", "other v2")
	if _, err := f.vault.AcceptRollback(t.Context(), admin, 4); !errors.Is(err, api.ErrNotBehind) {
		t.Errorf("a second time: %v", err)
	}
	// The new epoch is above all that came before, for good.
	f.restart()
	f.unlockWith(anchors...)
	f.wantGet("a", 0, "other v2")
	if a := f.anchor(); a.Epoch != 2 || a.Compare(&anchors[2]) <= 0 {
		t.Errorf("the anchor is of epoch %d", a.Epoch)
	}
}

// TestForkedStore: at the same commit, but with another content.
func TestForkedStore(t *testing.T) {
	f, anchors := rolledBack(t)
	f.unlockWith(anchors[0]) // exactly where it is
	f.wantGet("a", 0, "v1")
	f.put("a", "other v2")
	f.restart()
	f.unlockWith(anchors[1])
	if f.vault.State() != api.StateBehind {
		t.Fatalf("a fork is %s", f.vault.State())
	}
}

// TestOperatorsAreAuditedInAnyState: what they are refused for want of a root key is
// in the audit log, too.
func TestOperatorsAreAuditedInAnyState(t *testing.T) {
	f := newFixture(t)
	f.restart()
	for op, do := range map[vault.Operation]func(vault.Caller) error{
		"operator.backup": func(c vault.Caller) error {
			_, err := f.vault.Backup(t.Context(), c)
			return err
		},
		"operator.keeper": func(c vault.Caller) error {
			_, err := f.vault.ReplaceKeepers(t.Context(), c, map[int]string{1: "https://x"}, nil)
			return err
		},
	} {
		for _, c := range []vault.Caller{admin, visitor} {
			f.trail.take()
			if err := do(c); !errors.Is(err, api.ErrNotReady) {
				t.Errorf("%s: got %v", op, err)
			}
			lines := f.trail.take()
			if len(lines) != 1 || lines[0].Operation != op || lines[0].Allowed != (c.Role == admin.Role) || lines[0].Result != "state_not_ready" {
				t.Errorf("%s: audited as %+v", op, lines)
			}
		}
	}
}

func TestAnchorsThatShowNothing(t *testing.T) {
	f, anchors := rolledBack(t)
	_, foreign := rolledBack(t)
	forged := anchors[2]
	forged.Sequence = 1000
	unsigned := anchors[2]
	unsigned.Signature = nil
	f.unlockWith(foreign[2], forged, unsigned, keeper.Anchor{}, anchors[0])
	f.wantGet("a", 0, "v1")
}

// TestAnchorSeenLater: a Keeper that was away when the store was opened.
func TestAnchorSeenLater(t *testing.T) {
	f, anchors := rolledBack(t)
	f.unlockWith()
	f.wantGet("a", 0, "v1")
	f.vault.CheckAnchor(&anchors[0])
	f.wantGet("a", 0, "v1")
	f.vault.CheckAnchor(&anchors[1])
	f.wantErr("a", 0, api.ErrNotReady)
	if f.vault.State() != api.StateBehind {
		t.Errorf("it is %s", f.vault.State())
	}
	if _, err := f.vault.AcceptRollback(t.Context(), admin, 2); err != nil {
		t.Fatal(err)
	}
	f.vault.CheckAnchor(&anchors[2])
	f.wantGet("a", 0, "v1")
}

// TestKeepersThatKnowMore: they answer one after the other, and while the store is
// behind each that knows more counts. A new epoch is above all of them.
func TestKeepersThatKnowMore(t *testing.T) {
	f, anchors := rolledBack(t)
	f.unlockWith(anchors[1])
	told := func(want uint64) {
		t.Helper()
		if r := f.vault.Rollback(); r == nil || r.Sequence != 2 || r.ToldSequence != want {
			t.Fatalf("got %+v, want %d", r, want)
		}
	}
	told(3)
	forged := anchors[2]
	forged.Sequence = 1000
	f.vault.CheckAnchor(&forged)
	told(3)
	f.vault.CheckAnchor(&anchors[2])
	told(4)
	f.vault.CheckAnchor(&anchors[1])
	told(4)
	lost, err := f.vault.AcceptRollback(t.Context(), admin, 2)
	if err != nil || lost.ToldSequence != 4 {
		t.Errorf("accepted: %+v, %v", lost, err)
	}
	f.vault.CheckAnchor(&anchors[2])
	f.wantGet("a", 0, "v1")
}
