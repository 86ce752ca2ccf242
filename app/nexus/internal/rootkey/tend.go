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

// How soon a Keeper is looked at again.
const (
	retryFirst = 200 * time.Millisecond // after it was found wanting
	retryMost  = 5 * time.Second
	settle     = time.Second // after its connection ended
)

// tend looks at one Keeper for as long as the vault is open, and gives it its
// share whenever that is missing.
func (m *Manager) tend(ctx context.Context, index int, k *keeper.Client) {
	kick := m.kickOf(address(k))
	retry := retryFirst
	for {
		well := m.fill(ctx, index, k)
		wait := m.config.UpdateInterval
		// A connection that ends says something about a Keeper that was well. With
		// one that is not, it is but our own failed attempt.
		wake := kick
		if well {
			retry = retryFirst
		} else {
			wake, wait = nil, retry
			retry = min(2*retry, retryMost)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		// Kicks that came meanwhile are answered by the look that follows.
		select {
		case <-kick:
		default:
		}
	}
}

// fill looks at a Keeper and brings it its share. It reports whether the Keeper
// is as it should be.
func (m *Manager) fill(ctx context.Context, index int, k *keeper.Client) bool {
	held, s, err := m.look(ctx, index, k)
	defer held.Wipe()
	switch {
	case err != nil:
		return false
	case s.holds == api.HoldsShare:
		return true
	}
	h := m.vault.Header()
	sign := m.vault.Sign
	if held.Active == nil {
		sign = nil
	} else if string(held.Active.Tag.PublicKey) != string(m.vault.PublicKey()) {
		// Only the root key of what it holds can change it. Status names the cure.
		return false
	}
	if s.holds != api.HoldsPending {
		if err := m.contribute(ctx, h, index, k, held.Instance, sign); err != nil {
			m.log.Warn("cannot fill a Keeper", "keeper", k.URL().String(), "error", err)
			return false
		}
	}
	if err := k.Promote(ctx, h.KeyID.String(), held.Instance, sign); err != nil {
		m.log.Warn("cannot make a Keeper's share active", "keeper", k.URL().String(), "error", err)
		return false
	}
	again, s, err := m.look(ctx, index, k)
	defer again.Wipe()
	if err != nil || s.holds != api.HoldsShare {
		return false
	}
	m.log.Info("filled a Keeper", "keeper", k.URL().String(), "index", index)
	return true
}

// contribute sends a Keeper the very share that it had.
func (m *Manager) contribute(ctx context.Context, h *vault.Header, index int, k *keeper.Client, instance string, sign keeper.Signer) error {
	value, err := m.vault.Share(keeper.SetKeeper, index)
	if err != nil {
		return err
	}
	defer value.Destroy()
	share := keeper.Share{Tag: h.Tag(index, m.vault.PublicKey())}
	defer clear(share.Value[:])
	err = value.Expose(func(b []byte) error {
		if copy(share.Value[:], b) != len(share.Value) {
			return errors.New("a share has another size")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take share %d: %w", index, err)
	}
	return k.Contribute(ctx, share, instance, sign)
}
