package rootkey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
)

// search asks the Keepers again and again until the vault is open, whatever they
// answered before; at once if it is open already. A pause is about a tenth of the time spent searching so far:
// a Keeper that comes back is noticed soon, and nobody is asked in a frenzy.
func (m *Manager) search(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pause := &backoff.ExponentialBackOff{
		InitialInterval: 50 * time.Millisecond, Multiplier: 1.1,
		RandomizationFactor: 0.1, MaxInterval: m.config.SearchInterval,
	}
	pause.Reset()
	suspected := false
	for round := 1; m.vault.State() == api.StateLocked; round++ {
		err := m.round(ctx)
		if err == nil || ctx.Err() != nil || m.vault.Failure() != nil {
			return // the vault itself has told what is wrong with its store
		}
		if round == 1 {
			m.log.Warn("locked: the Keepers did not give the root key; asking on", "error", err)
		}
		if detail := m.elsewhere(m.vault.Header()); detail != "" && !suspected {
			suspected = true
			m.log.Warn("locked: is this the right data folder?", "detail", detail)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.vault.Opened():
			return
		case <-m.vault.Failed():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// round asks all Keepers at once, and opens the vault as soon as enough shares
// check out: one that hangs holds nobody up.
func (m *Manager) round(ctx context.Context) error {
	asking, cancel := context.WithCancel(ctx)
	h := m.vault.Header()
	slots := m.slots()
	found := make(chan shamir.Share)
	running := 0
	for i, k := range slots {
		if k == nil {
			continue
		}
		running++
		go func() { found <- m.fetch(asking, h, i+1, k) }()
	}
	// One that has moved is known by its share.
	for _, k := range m.unassigned() {
		running++
		go func() { found <- m.fetch(asking, h, 0, k) }()
	}
	var shares []shamir.Share
	defer func() {
		cancel()
		for ; running > 0; running-- {
			s := <-found
			s.Value.Destroy()
		}
		shamir.Destroy(shares)
	}()
	for running > 0 {
		s := <-found
		running--
		if !s.Value.Present() {
			continue
		}
		if slices.ContainsFunc(shares, func(o shamir.Share) bool { return o.Index == s.Index }) {
			s.Value.Destroy()
			continue
		}
		shares = append(shares, s)
		if len(shares) >= h.Threshold {
			// What is left of the Keepers' answers is not needed.
			cancel()
			return m.unlock(ctx, h, shares)
		}
	}
	return fmt.Errorf("%d of %d shares found, %d needed", len(shares), len(slots), h.Threshold)
}

// fetch returns the Keeper's share if it is the right one, else one without a value.
// With the index 0, any that fits is right.
func (m *Manager) fetch(ctx context.Context, h *vault.Header, index int, k *keeper.Client) shamir.Share {
	held, _, err := m.look(ctx, index, k)
	defer held.Wipe()
	none := shamir.Share{Index: index}
	if err != nil {
		return none
	}
	for i := 1; index == 0 && i <= len(h.Keepers); i++ {
		if fitting(h, i, &held) != nil {
			index = i
		}
	}
	share := fitting(h, index, &held)
	if share == nil {
		return none
	}
	value, err := secret.NewKey(share.Value[:])
	if err != nil {
		m.log.Error("cannot keep a share", "keeper", k.URL().String(), "error", err)
		return none
	}
	return shamir.Share{Index: index, Value: value}
}

// unlock combines shares that were checked, and opens the vault with the result. It
// returns api.ErrStoreMismatch when that is not the store's root key: each share is as
// the header says, so it is the header that was changed.
func (m *Manager) unlock(ctx context.Context, h *vault.Header, shares []shamir.Share) error {
	s, err := shamir.Combine(h.Threshold, shares)
	if err == nil {
		defer s.Destroy()
		err = m.vault.Unlock(ctx, s, m.anchors())
	}
	if errors.Is(err, shamir.ErrUnusable) || errors.Is(err, vault.ErrWrongKey) {
		m.noteMismatch(err)
		return fmt.Errorf("%w: %w", api.ErrStoreMismatch, err)
	}
	if err != nil {
		return fmt.Errorf("open with the shares: %w", err)
	}
	return nil
}

// noteMismatch keeps that for status, and logs it once: the search goes on, since
// other shares may do where a digest in the header was changed.
func (m *Manager) noteMismatch(err error) {
	m.mu.Lock()
	known := m.mismatch
	m.mismatch = true
	m.mu.Unlock()
	if !known {
		m.log.Error("locked: "+mismatchReason, "error", err)
	}
}

func (m *Manager) mismatched() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mismatch
}
