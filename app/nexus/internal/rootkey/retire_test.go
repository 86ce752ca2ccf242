package rootkey_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
)

// alias is the same Keeper under another name.
func (k *keeperHost) alias() string {
	_, port, _ := strings.Cut(k.address, ":")
	return "https://localhost:" + port
}

// empty reports whether the Keeper holds nothing at all.
func (k *keeperHost) empty() bool {
	k.w.t.Helper()
	h, err := k.holder.Held()
	if err != nil {
		k.w.t.Fatal(err)
	}
	defer h.Wipe()
	return h.Active == nil && h.Pending == nil
}

// replaced replaces Keepers and returns what became of those before.
func (n *node) replaced(urls map[int]string) []api.ReplacedKeeper {
	n.t.Helper()
	res, err := n.manager.Replace(n.t.Context(), as(role.Superuser), &api.OperatorKeeperRequest{Replace: urls})
	if err != nil {
		n.t.Fatal(err)
	}
	return res.Replaced
}

// wantReplaced wants one Keeper to have been replaced, with a detail that says so
// much.
func (w *world) wantReplaced(got []api.ReplacedKeeper, index int, url string, erased bool, detail string) {
	w.t.Helper()
	if len(got) != 1 || got[0].Index != index || got[0].URL != url || got[0].Erased != erased || !strings.Contains(got[0].Detail, detail) {
		w.t.Errorf("replaced: %+v, want Keeper %d at %s, erased: %v, %q", got, index, url, erased, detail)
	}
}

// away makes a Keeper unreachable, with what it holds.
func (k *keeperHost) away() {
	k.misbehave(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
}

// running returns a cluster of three Keepers, two of which are needed, that knows
// one secret.
func running(t *testing.T) (*world, *node) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.put("a")
	return w, n
}

// recovers wants a restarted Nexus to open with just these Keepers.
func (w *world) recovers(n *node, hosts ...*keeperHost) {
	w.t.Helper()
	n.stop()
	for _, k := range hosts {
		k.misbehave(nil)
	}
	n = w.startWith(w.disk, hosts)
	n.opens()
	n.has("a")
}

// TestReplacedKeeperIsErased: the share is not left behind, and the one that has it
// now knows how far the store has come.
func TestReplacedKeeperIsErased(t *testing.T) {
	w, n := running(t)
	old, fresh := w.keepers[1], w.newKeeper()
	share := old.held().Value
	w.told(2)
	w.wantReplaced(n.replaced(map[int]string{2: fresh.url()}), 2, old.url(), true, "its share is erased")
	if !old.empty() {
		t.Error("the Keeper that was replaced holds something")
	}
	if got := fresh.held(); got == nil || got.Value != share {
		t.Error("the new Keeper does not hold the share")
	}
	if a := fresh.anchor(); a == nil || a.Sequence < 2 {
		t.Errorf("when the old Keeper is erased, the new one knows of %+v", a)
	}
	if s := n.status(); *s.Spare != 1 || strings.Contains(s.Reason, "was replaced") {
		t.Errorf("status: %+v", s)
	}
	// The same again replaces nothing.
	if got := n.replaced(map[int]string{2: fresh.url()}); len(got) != 0 {
		t.Errorf("replaced: %+v", got)
	}
	w.recovers(n, fresh, w.keepers[2])
}

// TestReplacedKeeperIsErasedWhenItReturns: cut off, it keeps its share, and that is
// told until it is gone.
func TestReplacedKeeperIsErasedWhenItReturns(t *testing.T) {
	w, n := running(t)
	old, fresh := w.keepers[1], w.newKeeper()
	old.away()
	w.wantReplaced(n.replaced(map[int]string{2: fresh.url()}), 2, old.url(), false, "end that process")
	if s := n.status(); !strings.Contains(s.Reason, "Keeper 2 was replaced") || !strings.Contains(s.Reason, old.url()) {
		t.Errorf("status: %+v", s)
	}
	old.misbehave(nil)
	w.eventually("it is erased", old.empty)
	w.eventually("status has forgotten it", func() bool { return !strings.Contains(n.status().Reason, "was replaced") })
}

// TestAReplacementUndone: who is put back has its share, and the one that came
// between has none.
func TestAReplacementUndone(t *testing.T) {
	for name, cutOff := range map[string]bool{"erased in between": false, "cut off in between": true} {
		t.Run(name, func(t *testing.T) {
			w, n := running(t)
			old, fresh := w.keepers[1], w.newKeeper()
			share := old.held().Value
			if cutOff {
				old.away()
			}
			n.replaced(map[int]string{2: fresh.url()})
			old.misbehave(nil)
			w.wantReplaced(n.replaced(map[int]string{2: old.url()}), 2, fresh.url(), true, "its share is erased")
			w.eventually("its share is back", func() bool { h := old.held(); return h != nil && h.Value == share })
			// Nothing is left that would take it away.
			if s := n.status(); strings.Contains(s.Reason, "was replaced") {
				t.Errorf("status: %+v", s)
			}
			w.recovers(n, old, w.keepers[0])
		})
	}
}

// TestOneProcessUnderTwoNames: what both URLs lead to is never erased, nor given
// the shares of two indexes.
func TestOneProcessUnderTwoNames(t *testing.T) {
	w, n := running(t)
	k := w.keepers[1]
	share := k.held().Value
	w.wantReplaced(n.replaced(map[int]string{2: k.alias()}), 2, k.url(), false, "it is the process that is Keeper 2, at "+k.alias())
	w.wantErr(n.replace(role.Superuser, map[int]string{1: w.keepers[2].alias()}), api.ErrKeeperHoldsShare)
	fresh := w.newKeeper()
	w.wantErr(n.replace(role.Superuser, map[int]string{1: fresh.url(), 3: fresh.alias()}), api.ErrBadRequest)
	if !fresh.empty() {
		t.Error("what a refused replacement gave was not taken back")
	}
	if s := n.status(); *s.Spare != 1 || s.Keepers[0].URL != w.keepers[0].url() || s.Keepers[2].URL != w.keepers[2].url() {
		t.Errorf("status: %+v", s)
	}
	if k.held().Value != share {
		t.Error("the share is gone")
	}
	// One that is empty for a moment is known as well.
	empty := w.keepers[2]
	empty.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/contribute") {
			http.Error(rw, "{}", http.StatusBadGateway)
			return true
		}
		return false
	})
	empty.down()
	empty.up()
	w.eventually("it is seen to be empty", func() bool { return n.status().Keepers[2].Holds == api.HoldsNothing })
	w.wantErr(n.replace(role.Superuser, map[int]string{1: empty.alias()}), api.ErrBadRequest)
}

// contributes has a Keeper take shares of one index alone.
func contributes(t *testing.T, k *keeperHost, index string) {
	k.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/contribute") {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if strings.Contains(string(body), `"index":`+index+",") {
			return false
		}
		http.Error(rw, "{}", http.StatusBadGateway)
		return true
	})
}

// TestReplacedByAnother: a Keeper that was restarted takes the place of the next
// one. Its URL is still one of the cluster's, and what it holds there stays.
func TestReplacedByAnother(t *testing.T) {
	w, n := running(t)
	first, second, fresh := w.keepers[0], w.keepers[1], w.newKeeper()
	share := second.held().Value
	// It is empty, and not filled before it gets the place that it is to have.
	contributes(t, first, "2")
	first.down()
	first.up()
	w.eventually("it is seen to be empty", func() bool { return n.status().Keepers[0].Holds == api.HoldsNothing })
	got := n.replaced(map[int]string{1: fresh.url(), 2: first.url()})
	w.wantReplaced(got, 2, second.url(), true, "its share is erased")
	if s := n.status(); *s.Spare != 1 {
		t.Errorf("status: %+v", s)
	}
	if h := first.held(); h == nil || h.Value != share || h.Tag.Index != 2 {
		t.Error("a Keeper that has another place has not got its share")
	}
	w.recovers(n, first, fresh)
}

// TestTheOldOneWaitsForItsHeir: as long as the new Keeper's share is not active, or
// nobody can see that it is, the old one keeps its own.
func TestTheOldOneWaitsForItsHeir(t *testing.T) {
	for name, route := range map[string]string{"not active": "/promote", "not seen": "/shard"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, n := running(t)
			old, fresh := w.keepers[1], w.newKeeper()
			var promoted atomic.Bool
			var tried atomic.Int32
			fresh.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/promote") && promoted.CompareAndSwap(false, true) {
					// A look that was let through before must not find the share active.
					time.Sleep(500 * time.Millisecond)
				}
				if !promoted.Load() || !strings.HasSuffix(r.URL.Path, route) {
					return false
				}
				tried.Add(1)
				http.Error(rw, "{}", http.StatusBadGateway)
				return true
			})
			answer := make(chan []api.ReplacedKeeper)
			go func() { answer <- n.replaced(map[int]string{2: fresh.url()}) }()
			w.eventually("it is asked in vain", func() bool { return tried.Load() >= 4 })
			if old.held() == nil {
				t.Error("the old Keeper is empty, and the new one is not known to have the share")
			}
			if s := n.status(); s.Keepers[1].URL != fresh.url() || !strings.Contains(s.Reason, "does not have its share yet") {
				t.Errorf("status: %+v", s)
			}
			fresh.misbehave(nil)
			w.eventually("the old one is erased then", old.empty)
			w.wantReplaced(<-answer, 2, old.url(), true, "its share is erased")
		})
	}
}

// TestLiarsAmongKeepers: a new one that does not keep what it was given does not
// get the place; an old one that will not let go is named.
func TestLiarsAmongKeepers(t *testing.T) {
	w, n := running(t)
	old, fresh := w.keepers[1], w.newKeeper()
	ok := func(route string) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, route) {
				return false
			}
			_, _ = rw.Write([]byte(`{}`))
			return true
		}
	}
	fresh.misbehave(ok("/contribute"))
	w.wantErr(n.replace(role.Superuser, map[int]string{2: fresh.url()}), api.ErrKeeperUnreachable)
	if s := n.status(); s.Keepers[1].URL != old.url() || old.held() == nil {
		t.Errorf("a refused replacement changed something: %+v", s)
	}
	fresh.misbehave(nil)
	old.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/erase") {
			return false
		}
		http.Error(rw, `{"err":"keeper_signature_invalid"}`, http.StatusConflict)
		return true
	})
	w.wantReplaced(n.replaced(map[int]string{2: fresh.url()}), 2, old.url(), false, "it refuses to erase its share: end that process")
	if s := n.status(); *s.Spare != 1 || !strings.Contains(s.Reason, "end that process") {
		t.Errorf("status: %+v", s)
	}
}

// TestAnotherShareIsLeftAlone: a process that serves somebody else by now is not
// touched.
func TestAnotherShareIsLeftAlone(t *testing.T) {
	w, n := running(t)
	other := newWorld(t, 3, 2)
	o := other.start()
	o.init()
	foreign := *other.keepers[0].held()
	o.stop()
	old, fresh := w.keepers[1], w.newKeeper()
	old.away()
	n.replaced(map[int]string{2: fresh.url()})
	old.down()
	old.up()
	if err := old.holder.Contribute(&foreign, nil); err != nil {
		t.Fatal(err)
	}
	old.misbehave(nil)
	w.eventually("it is left alone", func() bool { return !strings.Contains(n.status().Reason, "was replaced") })
	if old.empty() {
		t.Error("another cluster's share was erased")
	}
}

// TestAllReplacedAtOnce: a copy of a store that was brought to Keepers of its own
// does not empty those of the cluster that lives.
func TestAllReplacedAtOnce(t *testing.T) {
	w, n := running(t)
	urls := map[int]string{}
	var fresh []*keeperHost
	for i := range w.keepers {
		k := w.newKeeper()
		fresh = append(fresh, k)
		urls[i+1] = k.url()
	}
	w.keepers[0].away()
	got := n.replaced(urls)
	if len(got) != 3 {
		t.Fatalf("replaced: %+v", got)
	}
	if !strings.Contains(got[0].Detail, "could not be reached") || strings.Contains(got[1].Detail, "could not be reached") {
		t.Errorf("replaced: %+v, and only the first is cut off", got)
	}
	for i, r := range got {
		w.wantReplaced([]api.ReplacedKeeper{r}, i+1, w.keepers[i].url(), false, "at another place")
		if w.keepers[i].held() == nil {
			t.Errorf("Keeper %d was erased", i+1)
		}
	}
	if s := n.status(); *s.Spare != 1 {
		t.Errorf("status: %+v", s)
	}
	w.recovers(n, fresh...)
}

// TestWhatAReplacedKeeperRemembers: one that was told of a later state than the
// store is in is not made to forget it.
func TestWhatAReplacedKeeperRemembers(t *testing.T) {
	w, n := running(t)
	old, fresh := w.keepers[1], w.newKeeper()
	later := keeper.Anchor{Cluster: n.status().Cluster, Epoch: 1, Sequence: 99, MAC: make([]byte, 32)}
	var err error
	if later.Signature, err = n.vault.Sign(keeper.AnchorMessage(later)); err != nil {
		t.Fatal(err)
	}
	old.away()
	n.replaced(map[int]string{2: fresh.url()})
	if err := old.holder.SetAnchor(later); err != nil {
		t.Fatal(err)
	}
	old.misbehave(nil)
	w.eventually("Nexus notices", func() bool { return n.status().State == api.StateBehind })
	w.eventually("it says why", func() bool { return strings.Contains(n.status().Reason, "may remember more") })
	if a := old.anchor(); a == nil || a.Sequence != 99 {
		t.Errorf("the Keeper knows of %+v", a)
	}
	// While that is so, nobody is replaced.
	w.wantErr(n.replace(role.Superuser, map[int]string{2: old.url()}), api.ErrNotReady)
}

// full is a disk that has no room, when it is told so.
type full struct {
	vault.Store
	now atomic.Bool
}

func (f *full) Commit(ctx context.Context, b vault.Batch) error {
	if f.now.Load() {
		return vault.ErrFull
	}
	return f.Store.Commit(ctx, b)
}

// TestAReplacementThatIsNotCommitted leaves nothing behind.
func TestAReplacementThatIsNotCommitted(t *testing.T) {
	w := newWorld(t, 3, 2)
	f := &full{Store: &disk{memory.New()}}
	n := w.startWith(f, w.keepers)
	n.init()
	fresh := w.newKeeper()
	f.now.Store(true)
	w.wantErr(n.replace(role.Superuser, map[int]string{2: fresh.url()}), vault.ErrFull)
	if !fresh.empty() || w.keepers[1].held() == nil {
		t.Error("a replacement that was not committed changed a Keeper")
	}
	f.now.Store(false)
	w.wantReplaced(n.replaced(map[int]string{2: fresh.url()}), 2, w.keepers[1].url(), true, "erased")
}

// TestReplacementsAtOnce: whichever is last, one Keeper has the share in the end,
// where the header says, and all that had it in between have lost it.
func TestReplacementsAtOnce(t *testing.T) {
	w, n := running(t)
	share := w.keepers[1].held().Value
	hosts := []*keeperHost{w.keepers[1]}
	var wg sync.WaitGroup
	for range 4 {
		k := w.newKeeper()
		hosts = append(hosts, k)
		wg.Go(func() {
			if err := n.replace(role.Superuser, map[int]string{2: k.url()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.eventually("one has it", func() bool {
		at := n.status().Keepers[1]
		good := at.Holds == api.HoldsShare
		for _, k := range hosts {
			good = good && k.empty() == (k.url() != at.URL)
		}
		return good
	})
	for _, k := range hosts {
		if h := k.held(); h != nil && h.Value != share {
			t.Error("the share has changed")
		}
	}
}

// TestAReplacementEndsWithNexus: nobody waits for a Keeper that hangs when Nexus
// is told to stop.
func TestAReplacementEndsWithNexus(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	old, fresh := w.keepers[1], w.newKeeper()
	fresh.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/promote") {
			http.Error(rw, "{}", http.StatusBadGateway)
			return true
		}
		return false
	})
	answer := make(chan []api.ReplacedKeeper)
	go func() { answer <- n.replaced(map[int]string{2: fresh.url()}) }()
	w.eventually("it waits", func() bool { return strings.Contains(n.status().Reason, "was replaced") })
	began := time.Now()
	n.stop()
	w.wantReplaced(<-answer, 2, old.url(), false, "does not have its share yet")
	t.Logf("it ended after %v", time.Since(began))
	var value shard.Value
	if h := old.held(); h == nil || h.Value == value {
		t.Error("the old Keeper has lost its share")
	}
}
