package storetest

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// testRandom makes series of random batches, and after each compares the store
// with the plainest thing that behaves like one.
func testRandom(t *testing.T, h *harness) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHarness(t, h.backend)
		h.t = rt
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			h.commit(drawBatch(rt, &h.want))
			if rapid.IntRange(0, 9).Draw(rt, "reopen") == 0 {
				h.reopen()
			}
			h.check()
		}
		if err := h.store.Close(); err != nil {
			rt.Errorf("Close = %v", err)
		}
	})
}

// drawBatch makes a batch that fits on a store that holds what m says.
func drawBatch(rt *rapid.T, m *model) vault.Batch {
	key := rapid.Custom(func(rt *rapid.T) vault.RowKey {
		return vault.RowKey{
			Table: rapid.SampledFrom(vault.Tables()).Draw(rt, "table"),
			ID:    rapid.OneOf(rapid.Uint64Range(1, 12), rapid.Uint64Range(1, 1<<63-1)).Draw(rt, "id"),
		}
	})
	content := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 1, 40),
		rapid.Map(rapid.IntRange(1, 20_000), func(n int) []byte { return make([]byte, n) }),
	)
	var b vault.Batch
	if rapid.Bool().Draw(rt, "has header") {
		b.Header = rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(rt, "header")
	}
	there := m.keys()
	for _, k := range rapid.SliceOfN(key, 0, 20).Draw(rt, "put") {
		sealed := seal.FromStore(content.Draw(rt, "content"))
		b.Put = append(b.Put, vault.Row{Table: k.Table, ID: k.ID, Sealed: sealed})
		if !slices.Contains(there, k) {
			there = append(there, k)
		}
	}
	if len(there) > 0 {
		b.Delete = rapid.SliceOfNDistinct(rapid.SampledFrom(there), 0, min(8, len(there)),
			rapid.ID[vault.RowKey]).Draw(rt, "delete")
	}
	return b
}

// testCancelled ends the context at any moment of a commit. Either it is all
// there and the answer is nil, or nothing is and the answer is the context's.
func testCancelled(t *testing.T, h *harness) {
	outcome := make(map[bool]int)
	for i := range 200 {
		var b vault.Batch
		for id := range uint64(64) {
			b.Put = append(b.Put, row(vault.TableSecret, uint64(i)*64+id+1, "a row of some length, and then some"))
		}
		b = h.complete(b)
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(rand.N(time.Millisecond), cancel)
		time.Sleep(rand.N(time.Millisecond))
		err := h.store.Commit(ctx, b)
		timer.Stop()
		cancel()
		switch {
		case err == nil:
			h.want.apply(b)
		case !errors.Is(err, context.Canceled):
			t.Fatalf("Commit = %v, want nil or the context's error", err)
		}
		outcome[err == nil]++
	}
	t.Logf("%d were committed, %d were not begun", outcome[true], outcome[false])
	h.check()
	h.commit(vault.Batch{})
	h.reopen()
	h.check()
}

// testCloseDuring closes a store while its owner commits. What was answered with
// nil is there, and the commit that comes too late says so.
func testCloseDuring(t *testing.T, h *harness) {
	ended := make(chan error, 1)
	started := make(chan struct{})
	var acknowledged model
	go func() {
		acknowledged.rows = make(map[vault.RowKey][]byte)
		for i := uint64(0); ; i++ {
			b := vault.Batch{Prev: i, State: sealed("state"), Put: []vault.Row{row(vault.TableSecret, i+1, "row")}}
			if err := h.store.Commit(t.Context(), b); err != nil {
				ended <- err
				return
			}
			acknowledged.apply(b)
			if i == 5 {
				close(started)
			}
		}
	}()
	<-started
	if err := h.store.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-ended; !errors.Is(err, store.ErrClosed) {
		t.Errorf("the commits ended with %v, want ErrClosed", err)
	}
	if h.backend.Volatile {
		return
	}
	h.want = acknowledged
	h.want.rows = maps.Clone(acknowledged.rows)
	h.reopen()
	h.check()
}
