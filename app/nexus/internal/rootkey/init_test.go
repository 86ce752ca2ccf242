package rootkey_test

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func TestInitFillsTheKeepersAndOpens(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	if s := n.status(); s.State != api.StateUninitialized || s.Cluster != "" {
		t.Errorf("before: %+v", s)
	}
	res := n.init()
	n.put("p")
	s := n.status()
	if s.State != api.StateOpen || s.Cluster != res.Cluster || s.KeyID != res.KeyID || *s.Spare != 1 || *s.Secrets != 1 {
		t.Errorf("after: %+v", s)
	}
	for i, k := range s.Keepers {
		if k.Index != i+1 || !k.Reachable || k.Holds != api.HoldsShare {
			t.Errorf("Keeper %d: %+v", i+1, k)
		}
	}
	seen := map[string]bool{}
	for i, k := range w.keepers {
		share := k.held()
		if share == nil || share.Tag.Index != i+1 || share.Tag.Cluster != res.Cluster || seen[string(share.Value[:])] {
			t.Fatalf("Keeper %d does not hold a share of its own", i+1)
		}
		seen[string(share.Value[:])] = true
	}
}

func TestInitIsRefused(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()

	w.keepers[2].down()
	_, err := n.manager.Init(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrKeeperUnreachable)
	w.nothingPending()
	w.keepers[2].up()

	for _, r := range []role.Role{role.Workload, role.Recover, role.Restore, role.Nexus, role.Keeper, role.Lite, role.None} {
		_, err := n.manager.Init(t.Context(), as(r))
		w.wantErr(err, api.ErrUnauthorized)
	}
	if n.vault.State() != api.StateUninitialized {
		t.Fatalf("it is %s", n.vault.State())
	}
	n.init()
	before := w.keepers[0].held().Value
	_, err = n.manager.Init(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrAlreadyInitialized)
	if w.keepers[0].held().Value != before {
		t.Error("a refused init changed a share")
	}
}

// nothingPending wants no Keeper that is up to have been given anything.
func (w *world) nothingPending() {
	w.t.Helper()
	for i, k := range w.keepers {
		if h, err := k.holder.Held(); err == nil && h.Pending != nil {
			w.t.Errorf("Keeper %d was given a share", i+1)
		}
	}
}

// TestOneKeeperOfAnother: a single Keeper that a cluster relies on keeps a new one
// from being made, and the others are not touched.
func TestOneKeeperOfAnother(t *testing.T) {
	other := newWorld(t, 3, 2)
	o := other.start()
	o.init()
	for at := range 3 {
		w := newWorld(t, 3, 2)
		share := *other.keepers[0].held()
		if err := w.keepers[at].holder.Contribute(&share, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.keepers[at].holder.Promote(share.Tag.KeyID, nil); err != nil {
			t.Fatal(err)
		}
		n := w.start()
		_, err := n.manager.Init(t.Context(), as(role.Superuser))
		w.wantErr(err, api.ErrKeeperHoldsShare)
		w.nothingPending()
		if n.vault.State() != api.StateUninitialized {
			t.Errorf("it is %s", n.vault.State())
		}
	}
}

// TestLyingKeeper: one that says, again and again, that it has another cluster's share
// keeps a new one from being made. Whoever asks is told which, and what to do.
func TestLyingKeeper(t *testing.T) {
	other := newWorld(t, 3, 2)
	o := other.start()
	o.init()
	w := newWorld(t, 3, 2)
	lie := func() {
		share := *other.keepers[0].held()
		err := w.keepers[1].holder.Contribute(&share, nil)
		if err == nil {
			err = w.keepers[1].holder.Promote(share.Tag.KeyID, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n := w.start()
	for range 2 {
		lie()
		// A connection of before its restart may be used once more.
		w.eventually("it answers", func() bool { return n.status().Keepers[1].Reachable })
		_, err := n.manager.Init(t.Context(), as(role.Superuser))
		w.wantErr(err, api.ErrKeeperHoldsShare)
		for _, word := range []string{w.keepers[1].address, "look at that process", "take it out of SPIKE_NEXUS_KEEPER_PEERS"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not in %v", word, err)
			}
		}
		for _, i := range []int{0, 2} {
			if strings.Contains(err.Error(), w.keepers[i].address) {
				t.Errorf("an honest Keeper is named: %v", err)
			}
		}
		w.keepers[1].down()
		w.keepers[1].up()
	}
	n.stop()
	lie()
	w.startWith(w.disk, []*keeperHost{w.keepers[0], w.keepers[2]}).init()
}

// TestWrongVolume: an empty disk, mounted by mistake, does not become a new
// cluster while Keepers hold the old one's shares.
func TestWrongVolume(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.stop()
	before := w.keepers[1].held().Value
	other := newWorld(t, 0, 2)
	wrong := w.startWith(other.disk, w.keepers)
	if s := wrong.status(); s.State != api.StateUninitialized || s.Keepers[0].Holds != api.HoldsForeign {
		t.Errorf("status: %+v", s)
	}
	_, err := wrong.manager.Init(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrKeeperHoldsShare)
	if w.keepers[1].held().Value != before {
		t.Error("a refused init changed a share")
	}
	wrong.stop()
	w.start().opens()
}

func TestOneOfManyInitsWins(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	var wg sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		wg.Go(func() { _, errs[i] = n.manager.Init(t.Context(), as(role.Superuser)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			w.wantErr(err, api.ErrAlreadyInitialized)
		}
	}
	if won != 1 {
		t.Errorf("%d inits won", won)
	}
}

// TestInitReadsBack: a Keeper that takes a share and does not keep it stops init
// before there is a cluster.
func TestInitReadsBack(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	w.keepers[1].misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/contribute") {
			_, _ = rw.Write([]byte(`{}`))
			return true
		}
		return false
	})
	_, err := n.manager.Init(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrKeeperUnreachable)
	if n.vault.State() != api.StateUninitialized {
		t.Errorf("it is %s", n.vault.State())
	}
	// One that keeps something else than it was given is found out, too.
	w.keepers[1].misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/contribute") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			body = regexp.MustCompile(`"shard":\[[0-9]+,`).ReplaceAll(body, []byte(`"shard":[7,`))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		return false
	})
	_, err = n.manager.Init(t.Context(), as(role.Superuser))
	w.wantErr(err, api.ErrKeeperUnreachable)
	if n.vault.State() != api.StateUninitialized {
		t.Errorf("it is %s", n.vault.State())
	}
	w.keepers[1].misbehave(nil)
	n.init() // what is pending from the first try is no hindrance
}

// TestCommittedButNotPromoted: an init that ended right after its commit is a
// cluster; its pending shares are taken, and made active.
func TestCommittedButNotPromoted(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	for _, k := range w.keepers {
		k.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/promote") {
				http.Error(rw, "{}", http.StatusBadGateway)
				return true
			}
			return false
		})
	}
	n.init()
	n.put("p")
	n.stop()
	for _, k := range w.keepers {
		if k.held() != nil {
			t.Fatal("a share is active already")
		}
		k.misbehave(nil)
	}
	again := w.start()
	again.opens()
	again.has("p")
	w.eventually("pending shares become active", func() bool {
		for _, k := range w.keepers {
			if k.held() == nil {
				return false
			}
		}
		return true
	})
}

// TestForeignShareIsNotOverwritten: a Keeper with another cluster's active share
// is named, and left alone.
func TestForeignShareIsNotOverwritten(t *testing.T) {
	w, other := newWorld(t, 3, 2), newWorld(t, 3, 2)
	n, o := w.start(), other.start()
	n.init()
	o.init()
	n.stop()
	foreign := *other.keepers[0].held()
	k := w.keepers[0]
	k.down()
	k.up()
	if err := k.holder.Contribute(&foreign, nil); err != nil {
		t.Fatal(err)
	}
	if err := k.holder.Promote(foreign.Tag.KeyID, nil); err != nil {
		t.Fatal(err)
	}
	n = w.start()
	n.opens()
	s := n.status()
	if k := s.Keepers[0]; k.Holds != api.HoldsForeign || !strings.Contains(k.Detail, foreign.Tag.Cluster) || !strings.Contains(k.Detail, "restart") {
		t.Errorf("status: %+v", k)
	}
	if *s.Spare != 0 {
		t.Errorf("spare is %d", *s.Spare)
	}
	if k.held().Value != foreign.Value {
		t.Error("the foreign share was overwritten")
	}
}
