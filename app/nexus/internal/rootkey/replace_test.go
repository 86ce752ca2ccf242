package rootkey_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (k *keeperHost) url() string { return "https://" + k.address }

func (n *node) replace(r role.Role, urls map[int]string) error {
	n.t.Helper()
	_, err := n.manager.Replace(n.t.Context(), as(r), &api.OperatorKeeperRequest{Replace: urls})
	return err
}

// TestReplaceAKeeper: another Keeper takes the place of one that is gone, and is
// asked after the next start.
func TestReplaceAKeeper(t *testing.T) {
	w := newWorld(t, 3, 2)
	folder := filepath.Join(t.TempDir(), "data")
	n := w.startOn(folder)
	n.init()
	n.put("a")
	share := w.keepers[1].held().Value
	w.keepers[1].down()
	fresh := w.newKeeper()
	res, err := n.manager.Replace(t.Context(), as(role.Superuser), &api.OperatorKeeperRequest{
		Replace: map[int]string{2: fresh.url() + "/"},
	})
	if err != nil || strings.Join(res.Keepers, " ") != strings.Join([]string{w.keepers[0].url(), fresh.url(), w.keepers[2].url()}, " ") {
		t.Fatalf("%+v %v", res, err)
	}
	w.eventually("the new Keeper is filled", func() bool { return fresh.held() != nil })
	if got := fresh.held(); got.Value != share || got.Tag.Index != 2 {
		t.Error("it holds another share")
	}
	n.put("b")
	w.eventually("it is told how far the store has come", func() bool { return fresh.anchor() != nil && fresh.anchor().Sequence == 4 })
	if s := n.status(); *s.Spare != 1 || s.Keepers[1].URL != fresh.url() || len(s.Unassigned) != 1 || s.Unassigned[0] != w.keepers[1].url() {
		t.Errorf("status: %+v", s)
	}
	n.stop()
	w.keepers[0].down()
	w.keepers = []*keeperHost{w.keepers[2], fresh, w.keepers[0]} // in another order, which means nothing
	n = w.startOn(folder)
	n.opens()
	n.has("b")
}

func TestReplaceIsRefused(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	fresh, gone := w.newKeeper(), w.newKeeper()
	gone.down()
	w.wantErr(n.replace(role.Superuser, map[int]string{1: fresh.url()}), api.ErrNotReady)
	n.init()
	for name, test := range map[string]struct {
		urls map[int]string
		want error
	}{
		"none":              {nil, api.ErrBadRequest},
		"index 0":           {map[int]string{0: fresh.url()}, api.ErrBadRequest},
		"index 4":           {map[int]string{4: fresh.url()}, api.ErrBadRequest},
		"no URL":            {map[int]string{1: "keeper-1"}, api.ErrBadRequest},
		"plain HTTP":        {map[int]string{1: "http://" + fresh.address}, api.ErrBadRequest},
		"another's":         {map[int]string{1: w.keepers[1].url()}, api.ErrBadRequest},
		"one for two":       {map[int]string{1: fresh.url(), 2: fresh.url()}, api.ErrBadRequest},
		"one that is away":  {map[int]string{1: gone.url()}, api.ErrKeeperUnreachable},
		"one of them away":  {map[int]string{1: fresh.url(), 2: gone.url()}, api.ErrKeeperUnreachable},
		"two changed about": {map[int]string{1: w.keepers[1].url(), 2: w.keepers[0].url()}, api.ErrKeeperHoldsShare},
	} {
		t.Run(name, func(t *testing.T) {
			before := n.status()
			w.wantErr(n.replace(role.Superuser, test.urls), test.want)
			if after := n.status(); after.Sequence != before.Sequence || after.Keepers[0].URL != w.keepers[0].url() || fresh.held() != nil {
				t.Errorf("a refused replacement changed something: %+v", after)
			}
		})
	}
	for _, r := range []role.Role{role.Workload, role.Recover, role.Restore, role.Nexus, role.Keeper, role.Lite, role.None} {
		w.wantErr(n.replace(r, map[int]string{1: fresh.url()}), api.ErrUnauthorized)
	}
	// The same place again changes nothing, and is no mistake.
	if err := n.replace(role.Superuser, map[int]string{1: w.keepers[0].url()}); err != nil {
		t.Error(err)
	}
}

// TestKeepersOfAnotherPlace: a backup was loaded where all Keepers are others.
// Paper opens it, they are assigned at once, and then it opens by itself.
func TestKeepersOfAnotherPlace(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.startOn(filepath.Join(t.TempDir(), "data"))
	n.init()
	n.put("a")
	file, paper := n.backup(), n.paper()
	n.stop()
	other := newWorld(t, 3, 2)
	folder := filepath.Join(t.TempDir(), "data")
	n = other.startOn(folder)
	if _, err := n.load(file); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 2; i++ {
		if _, err := n.feed(i, paper[i], true); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.status(); len(s.Unassigned) != 3 || *s.Spare != -2 || !strings.Contains(s.Reason, "keeper replace") {
		t.Errorf("status: %+v", s)
	}
	urls := map[int]string{}
	for i, k := range other.keepers {
		urls[i+1] = k.url()
	}
	if err := n.replace(role.Superuser, urls); err != nil {
		t.Fatal(err)
	}
	other.eventually("all are filled", func() bool { return *n.status().Spare == 1 })
	n.stop()
	n = other.startOn(folder)
	n.opens()
	n.has("a")
	// The Keepers of the first place were never touched.
	if got := w.keepers[0].held(); got == nil || got.Tag.Index != 1 {
		t.Error("a Keeper elsewhere has changed")
	}
}

// TestKeepersRenamed: all Keepers live on, under other URLs. Their shares say which
// is which.
func TestKeepersRenamed(t *testing.T) {
	w := newWorld(t, 3, 2)
	folder := filepath.Join(t.TempDir(), "data")
	n := w.startOn(folder)
	n.init()
	n.put("a")
	n.stop()
	for _, k := range w.keepers {
		_, port, _ := strings.Cut(k.address, ":")
		k.address = "localhost:" + port
	}
	n = w.startOn(folder)
	n.opens()
	n.has("a")
	urls := map[int]string{}
	for i, k := range w.keepers {
		urls[i+1] = k.url()
	}
	if err := n.replace(role.Superuser, urls); err != nil {
		t.Fatal(err)
	}
	w.eventually("all are known", func() bool { s := n.status(); return *s.Spare == 1 && len(s.Unassigned) == 0 })
}
