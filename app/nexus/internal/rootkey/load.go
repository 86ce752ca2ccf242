package rootkey

import (
	"context"
	"fmt"
	"io"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
	"github.com/spiffe/spike/internal/keeper"
)

// Load makes a backup the store of an uninitialized Nexus, which then looks for
// the root key as after any start. It is refused while a Keeper holds a share of
// another cluster: those are then not the Keepers, or this is not the Nexus, that
// was meant. A Keeper that does not answer is no hindrance: where a backup is
// needed, much else may be missing.
func (m *Manager) Load(ctx context.Context, caller vault.Caller, from io.Reader) (api.OperatorLoadResponse, error) {
	r, err := m.vault.Begin(ctx, caller, vault.OpOperatorLoad)
	if err != nil {
		return api.OperatorLoadResponse{}, err
	}
	res, err := m.load(ctx, from)
	if err = r.Done(ctx, err); err != nil {
		return api.OperatorLoadResponse{}, err
	}
	return res, nil
}

func (m *Manager) load(ctx context.Context, from io.Reader) (res api.OperatorLoadResponse, err error) {
	if !m.config.HasRootKey {
		return res, api.ErrNoRootKeyBackend
	}
	select {
	case <-m.initing:
		defer func() { m.initing <- struct{}{} }()
	case <-ctx.Done():
		return res, fmt.Errorf("an init or a load is under way: %w", ctx.Err())
	}
	if m.vault.State() != api.StateUninitialized {
		return res, api.ErrAlreadyInitialized
	}
	b, err := backup.NewReader(from)
	if err != nil {
		return res, fmt.Errorf("%w: %w", api.ErrBackupInvalid, err)
	}
	if err := m.noneOfAnother(ctx, b.Head.Cluster); err != nil {
		return res, err
	}
	// A caller that goes away shows in what it sends, and after that changes nothing.
	h, err := m.vault.Load(context.WithoutCancel(ctx), b)
	if err != nil {
		return res, err
	}
	close(m.loaded)
	return api.OperatorLoadResponse{
		Cluster: h.Cluster.String(), KeyID: h.KeyID.String(),
		Threshold: h.Threshold, Shards: len(h.Paper), Sequence: int64(b.Head.Sequence),
	}, nil
}

// noneOfAnother returns api.ErrKeeperHoldsShare if a Keeper has an active share of
// another cluster than the one named.
func (m *Manager) noneOfAnother(ctx context.Context, cluster string) error {
	return m.each(func(i int, k *keeper.Client) error {
		held, _, err := m.look(ctx, i+1, k)
		defer held.Wipe()
		if err == nil && held.Active != nil && held.Active.Tag.Cluster != cluster {
			return holdsAnother(k, &held)
		}
		return nil
	})
}
