package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// harness is a store under test, and beside it what must be in there.
type harness struct {
	t       reporter
	backend Backend
	open    func() (vault.Store, error)
	store   vault.Store
	want    model
}

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

type model struct {
	header   []byte
	sequence uint64
	state    []byte
	rows     map[vault.RowKey][]byte
}

func newHarness(t *testing.T, backend Backend) *harness {
	t.Helper()
	h := &harness{t: t, backend: backend, open: backend.New(t)}
	h.want.rows = make(map[vault.RowKey][]byte)
	h.start()
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return h
}

func (h *harness) start() {
	h.t.Helper()
	s, err := h.open()
	if err != nil {
		h.t.Fatalf("open the store: %v", err)
	}
	h.store = s
}

// reopen closes the store and opens its storage again, where there is any.
func (h *harness) reopen() {
	h.t.Helper()
	if h.backend.Volatile {
		return
	}
	if err := h.store.Close(); err != nil {
		h.t.Errorf("Close = %v", err)
	}
	h.start()
}

// commit fills in the rest of a batch, and expects it to be taken.
func (h *harness) commit(b vault.Batch) {
	h.t.Helper()
	b = h.complete(b)
	if err := h.store.Commit(h.t.Context(), b); err != nil {
		h.t.Fatalf("Commit %d = %v", b.Prev+1, err)
	}
	h.want.apply(b)
}

func (h *harness) complete(b vault.Batch) vault.Batch {
	b.Prev = h.want.sequence
	b.State = sealed(fmt.Sprintf("state %d", b.Prev+1))
	return b
}

func (m *model) apply(b vault.Batch) {
	if b.Header != nil {
		m.header = bytes.Clone(b.Header)
	}
	m.sequence, m.state = b.Prev+1, bytes.Clone(b.State.Bytes())
	for _, r := range b.Put {
		m.rows[vault.RowKey{Table: r.Table, ID: r.ID}] = bytes.Clone(r.Sealed.Bytes())
	}
	for _, key := range b.Delete {
		delete(m.rows, key)
	}
}

// keys lists the rows in the order of Load.
func (m *model) keys() []vault.RowKey {
	tables := vault.Tables()
	return slices.SortedFunc(maps.Keys(m.rows), func(a, b vault.RowKey) int {
		if a.Table != b.Table {
			return slices.Index(tables, a.Table) - slices.Index(tables, b.Table)
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

// check compares all that Load gives with what must be there.
func (h *harness) check() {
	h.t.Helper()
	if err := h.difference(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) difference() error {
	keys := h.want.keys()
	n := 0
	header, state, err := h.store.Load(h.t.Context(), func(r vault.Row) error {
		if n == len(keys) {
			return fmt.Errorf("%s row %d comes after all that should be there", r.Table, r.ID)
		}
		if key := keys[n]; r.Table != key.Table || r.ID != key.ID {
			return fmt.Errorf("%s row %d comes instead of %s row %d", r.Table, r.ID, key.Table, key.ID)
		}
		if want := h.want.rows[keys[n]]; !bytes.Equal(r.Sealed.Bytes(), want) {
			return fmt.Errorf("%s row %d is %.40q, want %.40q", r.Table, r.ID, r.Sealed.Bytes(), want)
		}
		n++
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("load: %w", err)
	case n != len(keys):
		return fmt.Errorf("load gave %d rows, want %d", n, len(keys))
	case !bytes.Equal(header, h.want.header) || (header == nil) != (h.want.header == nil):
		return fmt.Errorf("the header is %q, want %q", header, h.want.header)
	case state.Sequence != h.want.sequence:
		return fmt.Errorf("the sequence is %d, want %d", state.Sequence, h.want.sequence)
	case !bytes.Equal(state.Sealed.Bytes(), h.want.state):
		return fmt.Errorf("the state is %q, want %q", state.Sealed.Bytes(), h.want.state)
	}
	return nil
}

// checkStopped expects the store to have given up.
func (h *harness) checkStopped() {
	h.t.Helper()
	err := h.store.Commit(h.t.Context(), h.complete(vault.Batch{}))
	if err == nil || errors.Is(err, vault.ErrFull) || errors.Is(err, vault.ErrConflict) {
		h.t.Errorf("Commit after a failure = %v, want it to fail for good", err)
	}
}

func sealed(content string) seal.Sealed { return seal.FromStore([]byte(content)) }

func row(table vault.Table, id uint64, content string) vault.Row {
	return vault.Row{Table: table, ID: id, Sealed: sealed(content)}
}
