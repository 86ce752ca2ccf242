package rootkey_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
)

// lost returns the recovery shards of a cluster whose Keepers are all empty, and
// a locked Nexus.
func lost(t *testing.T, keepers, threshold int) (*world, *node, map[int]shard.Value, api.OperatorRecoverResponse) {
	w := newWorld(t, keepers, threshold)
	n := w.start()
	n.init()
	n.put("p")
	res, err := n.manager.Recover(t.Context(), as(role.Recover))
	if err != nil {
		t.Fatal(err)
	}
	n.stop()
	for _, k := range w.keepers {
		k.down()
		k.up()
	}
	return w, w.start(), res.Shards, res
}

func (n *node) feed(index int, v shard.Value, strict bool) (api.OperatorRestoreResponse, error) {
	return n.manager.Restore(n.t.Context(), as(role.Restore), &api.OperatorRestoreRequest{ID: index, Shard: v, Strict: strict})
}

func TestRestoreFromPaper(t *testing.T) {
	w, n, shards, _ := lost(t, 5, 3)
	if len(shards) != 5 {
		t.Fatalf("%d recovery shards", len(shards))
	}
	for i, want := range []api.OperatorRestoreResponse{
		{Collected: 1, Remaining: 2}, {Collected: 2, Remaining: 1}, {Collected: 3, Restored: true}, {Restored: true},
	} {
		if got, err := n.feed(5-i, shards[5-i], true); err != nil || got != want {
			t.Fatalf("shard %d: got %+v, %v", 5-i, got, err)
		}
		if n.status().Collected != want.Collected%3 {
			t.Errorf("status says that %d are collected", n.status().Collected)
		}
	}
	n.opens()
	n.has("p")
	w.eventually("the Keepers are filled", func() bool { return *n.status().Spare == 2 })
	n.stop()
	w.start().opens()
}

func TestRefusedShardsDoNotCount(t *testing.T) {
	w, n, shards, cluster := lost(t, 3, 2)
	_, o, foreign, otherCluster := lost(t, 3, 2)
	o.stop()
	restore := func(req api.OperatorRestoreRequest) error {
		req.Strict = true
		_, err := n.manager.Restore(t.Context(), as(role.Restore), &req)
		return err
	}
	mistyped := shards[1]
	mistyped[31] ^= 1
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 1, Shard: mistyped}), api.ErrShardCorrupt)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 1, Shard: mistyped, Cluster: cluster.Cluster, KeyID: cluster.KeyID}), api.ErrShardCorrupt)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 2, Shard: shards[1]}), api.ErrShardCorrupt)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 9, Shard: shards[1]}), api.ErrShardCorrupt)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: -1, Shard: shards[1]}), api.ErrShardCorrupt)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 1, Shard: foreign[1], Cluster: otherCluster.Cluster}), api.ErrShardForeign)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 1, Shard: foreign[1], Cluster: cluster.Cluster, KeyID: otherCluster.KeyID}), api.ErrShardStale)
	if n.status().Collected != 0 {
		t.Errorf("%d were counted", n.status().Collected)
	}
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 1, Shard: shards[1]}), nil)
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 1, Shard: shards[1]}), api.ErrShardDuplicate)
	if got, err := n.feed(1, shards[1], false); err != nil || got.Collected != 1 {
		t.Errorf("the same shard, not strict: %+v, %v", got, err)
	}
	for range 3 {
		w.wantErr(restore(api.OperatorRestoreRequest{ID: 2, Shard: mistyped}), api.ErrShardCorrupt)
	}
	// That was the tenth of this minute that was refused.
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 2, Shard: mistyped}), api.ErrTooManyAttempts)
	n.staysLocked(0)
	// Nobody's junk keeps the holders of right ones out.
	w.wantErr(restore(api.OperatorRestoreRequest{ID: 2, Shard: shards[2]}), nil)
	n.opens()
}

// TestRestoredButBehind: whoever brought the last shard is told that nothing is
// served yet, and so is who comes after.
func TestRestoredButBehind(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	n.put("a")
	older, paper := n.backup(), n.paper()
	n.put("later")
	w.told(3)
	n.stop()
	for _, k := range w.keepers[:2] {
		k.down()
		k.up()
	}
	n = w.startOn(filepath.Join(t.TempDir(), "data"))
	if _, err := n.load(older); err != nil {
		t.Fatal(err)
	}
	if got, err := n.feed(1, paper[1], true); err != nil || got.Behind {
		t.Fatalf("%+v, %v", got, err)
	}
	for range 2 {
		if got, err := n.feed(2, paper[2], true); err != nil || !got.Restored || !got.Behind {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// TestManyShards: a threshold can be higher than how many may be refused in a minute.
func TestManyShards(t *testing.T) {
	_, n, shards, _ := lost(t, 12, 12)
	for index := 1; index <= 12; index++ {
		got, err := n.feed(index, shards[index], true)
		if err != nil || got.Restored != (index == 12) {
			t.Fatalf("shard %d: %+v, %v", index, got, err)
		}
	}
}

// TestPaperAndKeeperSharesDoNotMix: one of each is not two of anything.
func TestPaperAndKeeperSharesDoNotMix(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	fromKeeper := w.keepers[0].held().Value
	n.stop()
	for _, k := range w.keepers {
		k.down()
		k.up()
	}
	n = w.start()
	_, err := n.feed(1, fromKeeper, true)
	w.wantErr(err, api.ErrShardCorrupt)
}

func TestWhoMayRecoverAndRestore(t *testing.T) {
	w, n, shards, _ := lost(t, 3, 2)
	_, err := n.manager.Recover(t.Context(), as(role.Recover))
	w.wantErr(err, api.ErrNotReady)
	for r := role.None; r <= role.Lite; r++ {
		if r != role.Restore {
			_, err := n.manager.Restore(t.Context(), as(r), &api.OperatorRestoreRequest{ID: 1, Shard: shards[1]})
			w.wantErr(err, api.ErrUnauthorized)
		}
	}
	for i := range 2 {
		if _, err := n.feed(i+1, shards[i+1], true); err != nil {
			t.Fatal(err)
		}
	}
	for r := role.None; r <= role.Lite; r++ {
		if r != role.Recover {
			res, err := n.manager.Recover(t.Context(), as(r))
			w.wantErr(err, api.ErrUnauthorized)
			if len(res.Shards) != 0 {
				t.Errorf("%s got shards", r)
			}
		}
	}
}

// TestRecoverWhileLockedIsAudited: the answer is the same for all, and whoever tried
// to take the shards out is in the audit log.
func TestRecoverWhileLockedIsAudited(t *testing.T) {
	w, n, _, _ := lost(t, 3, 2)
	n.stop()
	var lines []vault.Entry
	w.audit = func(_ context.Context, e vault.Entry) error {
		lines = append(lines, e)
		return nil
	}
	n = w.start()
	for _, r := range []role.Role{role.Recover, role.Workload} {
		lines = nil
		_, err := n.manager.Recover(t.Context(), as(r))
		w.wantErr(err, api.ErrNotReady)
		if len(lines) != 1 || lines[0].Operation != vault.OpOperatorRecover || lines[0].Caller != as(r).ID ||
			lines[0].Allowed != (r == role.Recover) || lines[0].Result != "state_not_ready" {
			t.Errorf("%s: audited as %+v", r, lines)
		}
	}
	w.audit = func(context.Context, vault.Entry) error { return errors.New("no room") }
	n.stop()
	n = w.start()
	_, err := n.manager.Recover(t.Context(), as(role.Recover))
	if err == nil || errors.Is(err, api.ErrNotReady) {
		t.Errorf("without an audit line: %v", err)
	}
}

func TestRestoreOfAnUninitializedStore(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	_, err := n.feed(1, shard.Value{1}, true)
	w.wantErr(err, api.ErrUninitialized)
}

// TestRestoreForgets: tries are counted by the minute, and a set that nobody
// completes is dropped after an hour.
func TestRestoreForgets(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	res, err := n.manager.Recover(t.Context(), as(role.Recover))
	if err != nil {
		t.Fatal(err)
	}
	n.stop()
	synctest.Test(t, func(t *testing.T) {
		alone := w.startWith(w.disk, nil) // no Keepers, hence no network
		defer alone.stop()
		if got, err := alone.feed(1, res.Shards[1], true); err != nil || got.Collected != 1 {
			t.Fatalf("got %+v, %v", got, err)
		}
		for range 10 {
			_, err := alone.feed(2, shard.Value{1}, true)
			w.wantErr(err, api.ErrShardCorrupt)
		}
		_, err := alone.feed(2, shard.Value{1}, true)
		w.wantErr(err, api.ErrTooManyAttempts)
		time.Sleep(time.Minute)
		_, err = alone.feed(2, shard.Value{1}, true)
		w.wantErr(err, api.ErrShardCorrupt)
		time.Sleep(time.Hour)
		if got, err := alone.feed(2, res.Shards[2], true); err != nil || got.Collected != 1 {
			t.Errorf("after an hour: %+v, %v", got, err)
		}
		if got, err := alone.feed(1, res.Shards[1], true); err != nil || !got.Restored {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// slowDisk takes until released to load rows.
type slowDisk struct {
	vault.Store
	loading, release chan struct{}
}

func (d *slowDisk) Load(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	if row != nil {
		close(d.loading)
		<-d.release
	}
	return d.Store.Load(ctx, row)
}

// TestStatusDuringALongLoad: a large store takes a while to load. Status answers
// meanwhile, and who comes with a further shard is told what became of it.
func TestStatusDuringALongLoad(t *testing.T) {
	w, n, shards, _ := lost(t, 3, 2)
	n.stop()
	d := &slowDisk{Store: w.disk, loading: make(chan struct{}), release: make(chan struct{})}
	n = w.startWith(d, w.keepers)
	if _, err := n.feed(1, shards[1], true); err != nil {
		t.Fatal(err)
	}
	answers := make(chan api.OperatorRestoreResponse, 2)
	feed := func(index int) {
		res, err := n.feed(index, shards[index], true)
		if err != nil {
			t.Error(err)
		}
		answers <- res
	}
	go feed(2)
	<-d.loading
	if s := n.status(); s.State != api.StateLocked || s.Collected != 2 {
		t.Errorf("while it loads, status is %+v", s)
	}
	go feed(3)
	close(d.release)
	for range 2 {
		if res := <-answers; !res.Restored {
			t.Errorf("got %+v", res)
		}
	}
	n.opens()
	n.has("p")
	if s := n.status(); s.Collected != 0 {
		t.Errorf("once it is open, %d are collected", s.Collected)
	}
}
