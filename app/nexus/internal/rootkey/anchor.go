package rootkey

import (
	"context"
	"errors"
	"time"

	"github.com/spiffe/spike/internal/keeper"
)

// tellEvery is how often Keepers are told how far the store has come: one that
// was put back is noticed if it lost more than that.
const tellEvery = 500 * time.Millisecond

// noteAnchor keeps what a Keeper was told, and has the vault compare it.
func (m *Manager) noteAnchor(k *keeper.Client, a *keeper.Anchor) {
	url := k.URL().String()
	m.mu.Lock()
	if a == nil {
		delete(m.told, url)
	} else {
		m.told[url] = *a
	}
	m.mu.Unlock()
	if a != nil {
		m.vault.CheckAnchor(a)
	}
}

// anchors returns what all Keepers were told, as far as they were seen.
func (m *Manager) anchors() []keeper.Anchor {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]keeper.Anchor, 0, len(m.told))
	for _, a := range m.told {
		list = append(list, a)
	}
	return list
}

// tell tells one Keeper how far the store has come, after commits and never on
// their way, and a last time when ctx ends.
func (m *Manager) tell(ctx context.Context, k *keeper.Client) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			m.tellOnce(last, k)
			return
		case <-tick.C:
			m.tellOnce(ctx, k)
		}
	}
}

func (m *Manager) tellOnce(ctx context.Context, k *keeper.Client) {
	url := k.URL().String()
	epoch, sequence, ok := m.vault.Position()
	m.mu.Lock()
	before := m.told[url]
	seen := m.seen[url]
	m.mu.Unlock()
	if !ok || !seen.reachable || before.Epoch == epoch && before.Sequence == sequence {
		return
	}
	a, ok := m.vault.Anchor()
	if !ok {
		return
	}
	err := k.Anchor(ctx, a)
	if err == nil {
		m.mu.Lock()
		m.told[url] = a
		m.mu.Unlock()
		return
	}
	if errors.Is(err, keeper.ErrAnchorConflict) || errors.Is(err, keeper.ErrNoShare) {
		// It knows better, or it has restarted: a look says which.
		m.Ended(address(k))
	}
	m.log.Debug("a Keeper could not be told how far the store is", "keeper", url, "error", err)
}
