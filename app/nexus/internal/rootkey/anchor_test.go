package rootkey_test

import (
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
)

// copyOf returns a disk with the same content, at the same sequence.
func copyOf(t *testing.T, d *disk) *disk {
	t.Helper()
	var rows []vault.Row
	header, state, err := d.Load(t.Context(), func(r vault.Row) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &disk{memory.New()}
	for n := range state.Sequence {
		b := vault.Batch{Prev: n, State: state.Sealed}
		if n == 0 {
			b.Header, b.Put = header, rows
		}
		if err := c.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (k *keeperHost) anchor() *keeper.Anchor {
	k.w.t.Helper()
	h, err := k.holder.Held()
	if err != nil {
		k.w.t.Fatal(err)
	}
	return h.Anchor
}

// told waits until every Keeper was told of the sequence.
func (w *world) told(sequence uint64) {
	w.t.Helper()
	w.eventually("all Keepers are told", func() bool {
		for _, k := range w.keepers {
			if a := k.anchor(); a == nil || a.Sequence != sequence {
				return false
			}
		}
		return true
	})
}

// TestOldCopyOfTheStore puts an older copy in the place of the store.
func TestOldCopyOfTheStore(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.put("old")
	w.told(2)
	older := copyOf(t, w.disk)
	n.put("new")
	n.stop() // the last anchor is told on the way out
	w.told(3)

	n = w.startWith(older, w.keepers)
	n.opens()
	s := n.status()
	if s.State != api.StateBehind || s.Behind == nil || s.Behind.Sequence != 2 || s.Behind.ToldSequence != 3 {
		t.Fatalf("status: %+v", s)
	}
	if _, err := n.vault.GetSecret(t.Context(), as(role.Superuser), &api.SecretGetRequest{Path: "old"}); err == nil {
		t.Fatal("a store that was put back is served")
	}
	_, err := n.manager.Accept(t.Context(), as(role.Superuser), &api.OperatorAcceptRequest{Sequence: 3})
	w.wantErr(err, api.ErrVersionConflict)
	if _, err := n.manager.Accept(t.Context(), as(role.Superuser), &api.OperatorAcceptRequest{Sequence: 2}); err != nil {
		t.Fatal(err)
	}
	n.has("old")
	w.eventually("the Keepers follow", func() bool { return w.keepers[0].anchor().Epoch == 2 })
	n.stop()
	// The store that was replaced is the one that is behind now.
	n = w.start()
	n.opens()
	if s := n.status(); s.State != api.StateBehind {
		t.Errorf("status: %+v", s)
	}
}

// TestKeeperThatComesLaterKnowsBetter: the Keepers that were told were away when
// the older store was opened.
func TestKeeperThatComesLaterKnowsBetter(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	res, err := n.manager.Recover(t.Context(), as(role.Recover))
	if err != nil {
		t.Fatal(err)
	}
	w.told(1) // so that all of them have their shares
	older := copyOf(t, w.disk)
	n.put("new")
	n.stop()
	w.told(2)
	gone := faults(w)["500"]
	for i, k := range w.keepers {
		gone(k, i)
	}
	n = w.startWith(older, w.keepers)
	for i := 1; i <= 2; i++ {
		if _, err := n.feed(i, res.Shards[i], true); err != nil {
			t.Fatal(err)
		}
	}
	if n.vault.State() != api.StateOpen {
		t.Fatalf("it is %s", n.vault.State())
	}
	w.keepers[1].misbehave(nil)
	w.eventually("it is behind", func() bool { return n.vault.State() == api.StateBehind })
}
