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
		s.holds, s.detail = judge(m.vault.Header(), index, &held)
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
	if known && before.holds == s.holds && before.reachable == s.reachable {
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
// with a share does not count.
func judge(h *vault.Header, index int, held *keeper.Held) (holds, detail string) {
	const cure = "; restart that Keeper, and it is filled again"
	if held.Active == nil && held.Pending == nil {
		return api.HoldsNothing, ""
	}
	if h == nil {
		if held.Active != nil {
			return api.HoldsForeign, "it holds an active share of cluster " + held.Active.Tag.Cluster +
				"; if that cluster is no more, restart the Keeper"
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

// fitting returns the share among those held that is the right one, or nil.
func fitting(h *vault.Header, index int, held *keeper.Held) *keeper.Share {
	for _, s := range [...]*keeper.Share{held.Active, held.Pending} {
		if s != nil && h.Fits(keeper.SetKeeper, index, &s.Value) {
			return s
		}
	}
	return nil
}
