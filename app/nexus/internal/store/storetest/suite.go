// Package storetest holds every implementation of [vault.Store] to its contract.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strconv"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// Backend is an implementation to test.
type Backend struct {
	// New makes an empty storage for one test, and returns what opens it: once,
	// and again each time after the store was closed.
	New func(t *testing.T) (open func() (vault.Store, error))
	// Volatile storage is gone with the store, and cannot be opened again.
	Volatile bool
}

// Run tests a backend.
func Run(t *testing.T, backend Backend) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, *harness)
	}{
		{"an empty store", testEmpty},
		{"what was committed comes back", testRoundTrip},
		{"rows come in order", testOrder},
		{"replace and delete", testReplaceDelete},
		{"a nil header keeps the header", testHeaderKept},
		{"a conflict changes nothing", testConflict},
		{"a batch that fails leaves nothing", testAtomic},
		{"batches that no store can hold", testRefused},
		{"big rows and big batches", testBig},
		{"load ends with an error", testLoadEnds},
		{"rows are the callee's", testOwnership},
		{"a context that has ended", testContext},
		{"a commit that is cancelled", testCancelled},
		{"after close", testClosed},
		{"close during commits", testCloseDuring},
		{"random batches", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newHarness(t, backend)) })
	}
}

func testEmpty(t *testing.T, h *harness) {
	for range 2 {
		header, state, err := h.store.Load(t.Context(), func(r vault.Row) error {
			t.Errorf("an empty store has %s row %d", r.Table, r.ID)
			return nil
		})
		if header != nil || state.Sequence != 0 || state.Sealed.Bytes() != nil || err != nil {
			t.Errorf("Load of an empty store = %q, %v, %v", header, state, err)
		}
		h.reopen() // having been opened, it is as empty as before
	}
}

func testRoundTrip(t *testing.T, h *harness) {
	h.commit(vault.Batch{Header: []byte{0, 1, 0xff, 0}, Put: []vault.Row{
		row(vault.TableSecret, 1, "\x00"),
		row(vault.TableSecret, 2, "two"),
		row(vault.TableSecret, math.MaxInt64, "the last"),
		row(vault.TableShare, 1, "one of another table"),
	}})
	h.check()
	h.reopen()
	h.check()

	header, state, err := h.store.Load(t.Context(), nil)
	if err != nil || !bytes.Equal(header, h.want.header) || state.Sequence != 1 {
		t.Errorf("Load without rows = %q, %d, %v", header, state.Sequence, err)
	}
}

func testOrder(t *testing.T, h *harness) {
	var batch vault.Batch
	for _, id := range []uint64{9, 2, math.MaxInt64, 10, 1 << 40, 1} {
		for _, table := range vault.Tables() {
			batch.Put = append(batch.Put, row(table, id, "row "+strconv.FormatUint(id, 10)))
		}
	}
	h.commit(batch)
	h.check() // which compares the order too
}

func testReplaceDelete(t *testing.T, h *harness) {
	h.commit(vault.Batch{Put: []vault.Row{
		row(vault.TableSecret, 1, "a"), row(vault.TableSecret, 2, "b"), row(vault.TableShare, 2, "c"),
	}})
	h.commit(vault.Batch{
		Put:    []vault.Row{row(vault.TableSecret, 1, "longer than before"), row(vault.TableSecret, 3, "d")},
		Delete: []vault.RowKey{{Table: vault.TableSecret, ID: 2}},
	})
	h.check()
	// Within a batch, the last row put counts, and deletions come after.
	h.commit(vault.Batch{
		Put: []vault.Row{
			row(vault.TableSecret, 4, "first"), row(vault.TableSecret, 4, "second"), row(vault.TableSecret, 5, "gone"),
		},
		Delete: []vault.RowKey{{Table: vault.TableSecret, ID: 5}, {Table: vault.TableSecret, ID: 1}},
	})
	h.check()
	h.commit(vault.Batch{Delete: []vault.RowKey{
		{Table: vault.TableSecret, ID: 3}, {Table: vault.TableSecret, ID: 4}, {Table: vault.TableShare, ID: 2},
	}})
	h.check()
	h.commit(vault.Batch{Put: []vault.Row{row(vault.TableSecret, 4, "back again")}})
	h.reopen()
	h.check()
}

func testHeaderKept(t *testing.T, h *harness) {
	h.commit(vault.Batch{Header: []byte("first")})
	h.commit(vault.Batch{})
	h.check()
	header := []byte("second")
	h.commit(vault.Batch{Header: header})
	clear(header) // the caller's again
	h.check()
	h.reopen()
	h.check()
}

func testConflict(t *testing.T, h *harness) {
	try := func(prev uint64) {
		t.Helper()
		batch := vault.Batch{
			Prev: prev, Header: []byte("another"), State: sealed("another"),
			Put: []vault.Row{row(vault.TableSecret, 1, "another")},
		}
		if err := h.store.Commit(t.Context(), batch); !errors.Is(err, vault.ErrConflict) {
			t.Errorf("Commit on %d at %d = %v, want a conflict", prev, h.want.sequence, err)
		}
		h.check()
	}
	try(1)
	h.commit(vault.Batch{Header: []byte("header"), Put: []vault.Row{row(vault.TableSecret, 1, "row")}})
	try(0)
	try(2)
	try(math.MaxUint64)
	h.commit(vault.Batch{}) // a conflict is no reason to stop
	try(1)
	h.reopen()
	try(1)
	h.commit(vault.Batch{})
	h.check()
}

func testAtomic(t *testing.T, h *harness) {
	h.commit(vault.Batch{Header: []byte("header"), Put: []vault.Row{
		row(vault.TableSecret, 1, "one"), row(vault.TableSecret, 2, "two"),
	}})
	err := h.store.Commit(t.Context(), vault.Batch{
		Prev: 1, Header: []byte("another"), State: sealed("another"),
		Put:    []vault.Row{row(vault.TableSecret, 1, "another"), row(vault.TableShare, 3, "three")},
		Delete: []vault.RowKey{{Table: vault.TableSecret, ID: 2}, {Table: vault.TableSecret, ID: 3}},
	})
	if !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("Commit that deletes a missing row = %v, want ErrDamaged", err)
	}
	h.check()
	h.checkStopped()
	h.reopen()
	h.check()
}

func testRefused(t *testing.T, h *harness) {
	one := []vault.Row{row(vault.TableSecret, 1, "one")}
	for name, b := range map[string]vault.Batch{
		"id 0":              {Put: []vault.Row{row(vault.TableSecret, 0, "zero")}},
		"id 2^63":           {Put: []vault.Row{row(vault.TableSecret, 1<<63, "big")}},
		"no such table":     {Put: []vault.Row{row("another", 1, "one")}},
		"quotes in a table": {Put: []vault.Row{row(`secret"; --`, 1, "one")}},
		"an empty row":      {Put: []vault.Row{row(vault.TableSecret, 1, "")}},
		"an empty header":   {Header: []byte{}, Put: one},
		"delete id 0":       {Put: one, Delete: []vault.RowKey{{Table: vault.TableSecret}}},
		"delete twice": {Put: one, Delete: []vault.RowKey{
			{Table: vault.TableSecret, ID: 1}, {Table: vault.TableSecret, ID: 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, h.backend)
			b.State = sealed("state")
			if err := h.store.Commit(t.Context(), b); err == nil {
				t.Error("Commit took it")
			}
			h.check()
			h.checkStopped()
		})
	}
	err := h.store.Commit(t.Context(), vault.Batch{Put: one})
	if !errors.Is(err, store.ErrBatch) {
		t.Errorf("Commit without a state = %v, want ErrBatch", err)
	}
	h.check()
}

func testBig(t *testing.T, h *harness) {
	big := bytes.Repeat([]byte("0123456789abcde\x00"), 8<<20/16)
	h.commit(vault.Batch{Put: []vault.Row{{Table: vault.TableSecret, ID: 1, Sealed: seal.FromStore(big)}}})
	for b := range uint64(8) {
		var batch vault.Batch
		for i := range uint64(1024) {
			id := 2 + b*1024 + i
			batch.Put = append(batch.Put, row(vault.TableSecret, id, "row "+strconv.FormatUint(id, 10)))
		}
		h.commit(batch)
	}
	h.check()
	h.reopen()
	h.check()
}

func testLoadEnds(t *testing.T, h *harness) {
	var batch vault.Batch
	for id := range uint64(10) {
		batch.Put = append(batch.Put, row(vault.TableSecret, id+1, "row"))
	}
	h.commit(batch)
	errEnough := errors.New("enough")
	seen := 0
	header, state, err := h.store.Load(t.Context(), func(vault.Row) error {
		if seen++; seen == 3 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || seen != 3 || header != nil || state.Sequence != 0 {
		t.Errorf("Load = %q, %v, %v after %d rows", header, state, err, seen)
	}
	h.check() // and it loads again
	h.commit(vault.Batch{})
	h.check()
}

func testOwnership(t *testing.T, h *harness) {
	h.commit(vault.Batch{Header: []byte("header"), Put: []vault.Row{
		row(vault.TableSecret, 1, "one"), row(vault.TableSecret, 2, "two"),
	}})
	var kept []vault.Row
	header, state, err := h.store.Load(t.Context(), func(r vault.Row) error {
		kept = append(kept, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) != 2 || string(kept[0].Sealed.Bytes()) != "one" || string(kept[1].Sealed.Bytes()) != "two" {
		t.Errorf("the rows kept are %v", kept)
	}
	clear(header)
	clear(state.Sealed.Bytes())
	for _, r := range kept {
		clear(r.Sealed.Bytes())
	}
	h.check()
}

func testContext(t *testing.T, h *harness) {
	h.commit(vault.Batch{Put: []vault.Row{row(vault.TableSecret, 1, "one")}})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := h.store.Commit(ended, vault.Batch{
		Prev: 1, State: sealed("another"), Put: []vault.Row{row(vault.TableSecret, 1, "another")},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want the context's error", err)
	}
	h.check()
	if _, _, err := h.store.Load(ended, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Load = %v, want the context's error", err)
	}
	h.commit(vault.Batch{}) // nothing was done, and the store goes on

	loading, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, _, err = h.store.Load(loading, func(vault.Row) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Load that is cancelled = %v, want the context's error", err)
	}
	h.check()
}

func testClosed(t *testing.T, h *harness) {
	h.commit(vault.Batch{Header: []byte("header")})
	for range 2 {
		if err := h.store.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if err := h.store.Commit(t.Context(), vault.Batch{Prev: 1, State: sealed("s")}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit after Close = %v", err)
	}
	if _, _, err := h.store.Load(t.Context(), nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Load after Close = %v", err)
	}
	if !h.backend.Volatile {
		h.reopen()
		h.check()
	}
}
