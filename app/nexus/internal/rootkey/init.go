package rootkey

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
)

// Init makes a new cluster: a root key whose shares every Keeper holds before the
// header is committed. It is refused, and nothing changed, unless the store is
// empty and every Keeper answers and holds no active share.
func (m *Manager) Init(ctx context.Context, caller vault.Caller) (api.OperatorInitResponse, error) {
	r, err := m.vault.Begin(ctx, caller, vault.OpOperatorInit)
	if err != nil {
		return api.OperatorInitResponse{}, err
	}
	res, err := m.init(ctx)
	if err != nil {
		m.log.Warn("init was refused; nothing has changed", "error", err)
	}
	return res, r.Done(ctx, err)
}

func (m *Manager) init(ctx context.Context) (res api.OperatorInitResponse, err error) {
	if !m.config.HasRootKey {
		return res, api.ErrNoRootKeyBackend
	}
	select {
	case <-m.initing:
		defer func() { m.initing <- struct{}{} }()
	case <-ctx.Done():
		return res, fmt.Errorf("another init is under way: %w", ctx.Err())
	}
	if m.vault.State() != api.StateUninitialized {
		return res, api.ErrAlreadyInitialized
	}
	instances, err := m.allEmpty(ctx)
	if err != nil {
		return res, err
	}
	birth, err := vault.NewBirth(m.urls(), m.config.Shards, m.config.Threshold)
	if err != nil {
		return res, err
	}
	defer birth.Destroy()
	if err := m.distribute(ctx, birth, instances); err != nil {
		return res, err
	}
	if err := m.vault.Create(ctx, birth); err != nil {
		return res, err
	}
	// The cluster is born; a caller that goes away now changes nothing. A Keeper
	// that cannot be told is told by tend.
	m.promoteAll(context.WithoutCancel(ctx), birth, instances)
	h := birth.Header()
	m.log.Info("initialized", "cluster", h.Cluster.String(), "key_id", h.KeyID.String(),
		"threshold", h.Threshold, "keepers", len(h.Keepers))
	return api.OperatorInitResponse{
		Cluster: h.Cluster.String(), KeyID: h.KeyID.String(),
		Threshold: h.Threshold, Keepers: len(h.Keepers), Shards: len(h.Paper),
	}, nil
}

func (m *Manager) urls() []string {
	list := make([]string, len(m.config.Keepers))
	for i, k := range m.config.Keepers {
		list[i] = k.URL().String()
	}
	return list
}

// each runs f for all Keepers at once and joins the errors.
func (m *Manager) each(f func(i int, k *keeper.Client) error) error {
	errs := make([]error, len(m.config.Keepers))
	var wg sync.WaitGroup
	for i, k := range m.config.Keepers {
		wg.Go(func() { errs[i] = f(i, k) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// allEmpty returns the Keepers' instances, if all answer and none has an active
// share. What is pending was never part of a cluster that was born.
func (m *Manager) allEmpty(ctx context.Context) ([]string, error) {
	instances := make([]string, len(m.config.Keepers))
	err := m.each(func(i int, k *keeper.Client) error {
		held, _, err := m.look(ctx, i+1, k)
		defer held.Wipe()
		if err != nil {
			return fmt.Errorf("%w: %w", api.ErrKeeperUnreachable, err)
		}
		if held.Active != nil {
			return holdsAnother(k, &held)
		}
		instances[i] = held.Instance
		return nil
	})
	return instances, err
}

// holdsAnother names a Keeper that says that it has a share of some cluster. That
// nobody can check, and so it may be in the way for ever.
func holdsAnother(k *keeper.Client, held *keeper.Held) error {
	return fmt.Errorf("%w: %s says that it holds one of cluster %s; look at that process, and restart it if that cluster "+
		"is no more; if it says so again, it is no Keeper to rely on: take it out of SPIKE_NEXUS_KEEPER_PEERS",
		api.ErrKeeperHoldsShare, k.URL(), held.Active.Tag.Cluster)
}

// distribute gives every Keeper its share, pending, and reads each one back.
func (m *Manager) distribute(ctx context.Context, birth *vault.Birth, instances []string) error {
	h := birth.Header()
	err := m.each(func(i int, k *keeper.Client) error {
		share := keeper.Share{Tag: h.Tag(i+1, birth.PublicKey())}
		defer clear(share.Value[:])
		err := birth.Keepers[i].Value.Expose(func(b []byte) error {
			copy(share.Value[:], b)
			return nil
		})
		if err == nil {
			err = k.Contribute(ctx, share, instances[i], nil)
		}
		failpoint.Hit("init.contributed")
		return refused(err)
	})
	if err != nil {
		return err
	}
	return m.each(func(i int, k *keeper.Client) error {
		held, err := k.Held(ctx)
		defer held.Wipe()
		if err != nil {
			return refused(err)
		}
		if held.Pending == nil || !h.Fits(keeper.SetKeeper, i+1, &held.Pending.Value) {
			return fmt.Errorf("%w: %s does not give back the share that it was given", api.ErrKeeperUnreachable, k.URL())
		}
		failpoint.Hit("init.read-back")
		return nil
	})
}

func (m *Manager) promoteAll(ctx context.Context, birth *vault.Birth, instances []string) {
	err := m.each(func(i int, k *keeper.Client) error {
		err := k.Promote(ctx, birth.Header().KeyID.String(), instances[i], nil)
		failpoint.Hit("init.promoted")
		return err
	})
	if err != nil {
		m.log.Warn("a Keeper could not be told that its share is active; trying on", "error", err)
	}
}

// refused says what a Keeper's error means to who asked for a new cluster.
func refused(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keeper.ErrHoldsShare):
		return fmt.Errorf("%w: %w", api.ErrKeeperHoldsShare, err)
	}
	return fmt.Errorf("%w: %w", api.ErrKeeperUnreachable, err)
}
