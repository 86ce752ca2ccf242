package vault

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/keeper"
)

// A store that was put back to an earlier state is in order as far as anything
// inside it can tell. So Keepers are told how far it has come, and a store that
// is behind what one of them was told is not served until a superuser accepts it.

// Rollback says how far behind a store is.
type Rollback struct {
	Epoch, Sequence uint64 // of the store
	// Told is the highest that a Keeper was told, under a signature of ours.
	ToldEpoch, ToldSequence uint64
}

func (r *Rollback) String() string {
	if r.Epoch == r.ToldEpoch && r.Sequence == r.ToldSequence {
		return fmt.Sprintf("the store is at commit %d, as a Keeper was told, but with another content", r.Sequence)
	}
	return fmt.Sprintf("the store is at commit %d of epoch %d, but a Keeper was told commit %d of epoch %d",
		r.Sequence, r.Epoch, r.ToldSequence, r.ToldEpoch)
}

// anchorOf signs what a state has come to.
func anchorOf(keys *seal.Keyring, s *stateRecord) (keeper.Anchor, error) {
	mac, err := keys.AnchorMAC(s.encode())
	if err != nil {
		return keeper.Anchor{}, err
	}
	a := keeper.Anchor{Cluster: keys.Cluster().String(), Epoch: s.epoch, Sequence: s.sequence, MAC: mac[:]}
	a.Signature, err = keys.Sign(keeper.AnchorMessage(a))
	return a, err
}

// compare returns the rollback that an anchor shows, or nil. An anchor that is
// not signed by this root key shows nothing: anyone could have made it.
func compare(keys *seal.Keyring, s *stateRecord, a *keeper.Anchor) (*Rollback, error) {
	if !signed(keys, a) {
		return nil, nil
	}
	own := keeper.Anchor{Epoch: s.epoch, Sequence: s.sequence}
	switch order := own.Compare(a); {
	case order > 0:
		return nil, nil
	case order == 0:
		mac, err := keys.AnchorMAC(s.encode())
		if err != nil {
			return nil, err
		}
		if bytes.Equal(mac[:], a.MAC) {
			return nil, nil
		}
	}
	return &Rollback{s.epoch, s.sequence, a.Epoch, a.Sequence}, nil
}

func signed(keys *seal.Keyring, a *keeper.Anchor) bool {
	return a.Cluster == keys.Cluster().String() && len(a.Signature) == ed25519.SignatureSize &&
		ed25519.Verify(keys.PublicKey(), keeper.AnchorMessage(*a), a.Signature)
}

// worst returns the rollback that the highest of several anchors shows, or nil.
func worst(keys *seal.Keyring, s *stateRecord, anchors []keeper.Anchor) (*Rollback, error) {
	var found *Rollback
	for i := range anchors {
		r, err := compare(keys, s, &anchors[i])
		if err != nil {
			return nil, err
		}
		if r != nil && (found == nil || r.ToldEpoch > found.ToldEpoch ||
			r.ToldEpoch == found.ToldEpoch && r.ToldSequence >= found.ToldSequence) {
			found = r
		}
	}
	return found, nil
}

// Position returns how far the store has come; ok is false unless the vault is
// open.
func (v *Vault) Position() (epoch, sequence uint64, ok bool) {
	s := v.current.Load()
	if s == nil {
		return 0, 0, false
	}
	return s.state.epoch, s.state.sequence, true
}

// Anchor returns what Keepers are to be told, signed; ok is false unless the
// vault is open.
func (v *Vault) Anchor() (a keeper.Anchor, ok bool) {
	s, keys := v.current.Load(), v.keyring()
	if s == nil || keys == nil {
		return a, false
	}
	a, err := anchorOf(keys, &s.state)
	if err != nil {
		v.log.Error("cannot sign an anchor", "error", err)
	}
	return a, err == nil
}

// Rollback returns how far behind the store is, or nil when it is not.
func (v *Vault) Rollback() *Rollback {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rollback
}

// CheckAnchor compares an anchor that a Keeper holds with the store. It stops
// serving when an open store is behind it, and when the store is behind already and
// this Keeper knows of more, that is what is lost.
func (v *Vault) CheckAnchor(a *keeper.Anchor) {
	keys := v.keyring()
	if keys == nil || !signed(keys, a) {
		return
	}
	var r *Rollback
	if s := v.current.Load(); s != nil {
		var err error
		if r, err = compare(keys, &s.state, a); err != nil || r == nil {
			return
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch v.state {
	case api.StateOpen:
		if r != nil {
			v.setBehindLocked(r)
			v.current.Store(nil)
		}
	case api.StateBehind:
		v.raiseLocked(a)
	}
}

// raiseLocked keeps the highest of what Keepers were told: those that answered first
// may not have known all that was lost.
func (v *Vault) raiseLocked(a *keeper.Anchor) {
	before := v.rollback
	told := keeper.Anchor{Epoch: before.ToldEpoch, Sequence: before.ToldSequence}
	if told.Compare(a) >= 0 {
		return
	}
	v.rollback = &Rollback{before.Epoch, before.Sequence, a.Epoch, a.Sequence}
	v.log.Error("the store is further behind than was known: another Keeper was told more", "detail", v.rollback.String())
}

func (v *Vault) setBehindLocked(r *Rollback) {
	v.state, v.rollback = api.StateBehind, r
	v.log.Error("the store was put back to an earlier state; nothing is served until a superuser accepts it",
		"detail", r.String())
}

// AcceptRollback serves a store that is behind, as it is: what came after is
// lost, and a new epoch says so to the Keepers. The sequence must be the store's,
// so that nobody accepts another state than the one he saw.
func (v *Vault) AcceptRollback(ctx context.Context, caller Caller, sequence uint64) (*Rollback, error) {
	r := &request{vault: v, caller: caller, op: decision.OperatorAccept}
	if err := r.allow(ctx, nil); err != nil {
		return nil, err
	}
	lost, err := v.acceptRollback(ctx, r, sequence)
	return lost, r.done(ctx, err)
}

func (v *Vault) acceptRollback(ctx context.Context, r *request, sequence uint64) (*Rollback, error) {
	lost := v.Rollback()
	if lost == nil {
		return nil, api.ErrNotBehind
	}
	err := v.change(ctx, r, 0, func(t *tx) error {
		if lost = v.Rollback(); t.state.sequence != sequence || lost == nil {
			return fmt.Errorf("%w: the store is at commit %d", api.ErrVersionConflict, t.state.sequence)
		}
		t.state.epoch = max(t.state.epoch, lost.ToldEpoch) + 1
		t.anew = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	v.log.Warn("an earlier state of the store was accepted", "sequence", sequence, "detail", lost.String())
	return lost, nil
}
