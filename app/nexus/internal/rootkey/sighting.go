package rootkey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
)

// sighting is what a Keeper was found to hold.
type sighting struct {
	reachable bool
	holds     string // one of the api.Holds constants
	cluster   string // whose share it holds, when that is another cluster's
	detail    string // a sentence for people where something is wrong
	instance  string // the process's name for itself, when it last answered
	at        time.Time
}

// look asks a Keeper what it holds and judges it. The caller wipes held.
func (m *Manager) look(ctx context.Context, index int, k *keeper.Client) (keeper.Held, sighting, error) {
	held, err := k.Held(ctx)
	s := sighting{holds: api.HoldsUnknown, at: time.Now()}
	if err != nil {
		s.reachable = !errors.Is(err, keeper.ErrUnreachable)
		s.detail = "it does not answer; see that it runs, and Nexus's log for the reason"
		if s.reachable {
			s.detail = "it answers, but not as a Keeper should; see Nexus's log for the reason"
		}
	} else {
		s.reachable, s.instance = true, held.Instance
		// Only an open Nexus refills a Keeper.
		refills := m.vault.State() == api.StateOpen
		s.holds, s.detail = judge(m.vault.Header(), refills, index, &held)
		if s.holds == api.HoldsForeign {
			s.cluster = held.Active.Tag.Cluster
		}
		m.noteAnchor(k, held.Anchor)
	}
	if ctx.Err() == nil {
		m.note(k, s, err)
	}
	return held, s, err
}

// note keeps a sighting for status, and logs what has changed.
func (m *Manager) note(k *keeper.Client, s sighting, err error) {
	url := k.URL().String()
	m.mu.Lock()
	before, known := m.seen[url]
	if err != nil {
		s.instance = before.instance
	}
	m.seen[url] = s
	m.mu.Unlock()
	if known && before.holds == s.holds && before.reachable == s.reachable && before.detail == s.detail {
		return
	}
	switch {
	case err != nil:
		m.log.Warn("a Keeper cannot be used", "keeper", url, "error", err)
	case s.detail != "":
		m.log.Warn("a Keeper is not as it should be", "keeper", url, "holds", s.holds, "detail", s.detail)
	default:
		m.log.Info("a Keeper answers", "keeper", url, "holds", s.holds)
	}
}

// instanceAt returns the name of the process that last answered at a URL, or "".
func (m *Manager) instanceAt(url string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[url].instance
}

// judge says what a Keeper holds, measured against our own header: what arrives
// with a share does not count. A restart is a cure only while Nexus refills. Before
// that, what seems wrong at the Keepers may be wrong with the data folder, and a
// restart would take away the shares that open the right one.
func judge(h *vault.Header, refills bool, index int, held *keeper.Held) (holds, detail string) {
	cure := "; restart that Keeper, and it is filled again"
	if !refills {
		cure = "; do not restart it while Nexus is not open: it would lose this share, and not be filled again"
	}
	if held.Active == nil && held.Pending == nil {
		return api.HoldsNothing, ""
	}
	if h == nil {
		if held.Active != nil {
			return api.HoldsForeign, "it holds an active share of cluster " + held.Active.Tag.Cluster +
				"; restart it only if that cluster is no more: is this the right SPIKE_NEXUS_DATA_DIR?"
		}
		return api.HoldsPending, ""
	}
	if held.Active == nil {
		if h.Fits(keeper.SetKeeper, index, &held.Pending.Value) {
			return api.HoldsPending, ""
		}
		return api.HoldsNothing, ""
	}
	tag := held.Active.Tag
	switch {
	case h.Fits(keeper.SetKeeper, index, &held.Active.Value):
		return api.HoldsShare, ""
	case tag.Cluster != h.Cluster.String():
		return api.HoldsForeign, "it holds a share of cluster " + tag.Cluster + cure
	case tag.KeyID != h.KeyID.String():
		return api.HoldsStale, "it holds a share of the outdated root key " + tag.KeyID + cure
	case index == 0:
		return api.HoldsOther, fmt.Sprintf("it holds share %d, and is not where the cluster has its Keeper %d", tag.Index, tag.Index)
	case tag.Index != index:
		return api.HoldsOther, fmt.Sprintf("it holds share %d in the place of share %d%s", tag.Index, index, cure)
	}
	return api.HoldsCorrupt, "its share does not match the digest in the store" + cure
}

// elsewhere says that this may be the wrong data folder: all Keepers that hold a
// share, as they were last seen, hold one of the same other cluster. Otherwise it
// returns "".
func (m *Manager) elsewhere(h *vault.Header) string {
	cluster, count := "", 0
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, url := range h.URLs() {
		switch s := m.seen[url]; {
		case s.holds == "" || s.holds == api.HoldsUnknown || s.holds == api.HoldsNothing:
			continue
		case s.holds != api.HoldsForeign || count > 0 && s.cluster != cluster:
			return ""
		default:
			cluster, count = s.cluster, count+1
		}
	}
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("the data folder is of cluster %s, but of %d Keepers %d hold shares of cluster %s: "+
		"is this the right SPIKE_NEXUS_DATA_DIR? Do not restart the Keepers: they open the other one",
		h.Cluster, len(h.Keepers), count, cluster)
}

// fitting returns the share among those held that is the right one, or nil.
func fitting(h *vault.Header, index int, held *keeper.Held) *keeper.Share {
	for _, s := range [...]*keeper.Share{held.Active, held.Pending} {
		if s != nil && h.Fits(keeper.SetKeeper, index, &s.Value) {
			return s
		}
	}
	return nil
}
