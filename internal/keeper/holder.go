package keeper

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/spiffe/spike/internal/secret"
)

var errClosed = errors.New("the holder is closed")

// Holder is what a Keeper holds, and the rules by which that changes. While no
// share is active, the pending one is nobody's property yet: it may be
// overwritten, and made active, without a signature. It logs each change;
// refusals it only returns.
type Holder struct {
	log *slog.Logger

	mu              sync.Mutex
	instance        string
	active, pending *slot
	anchor          *Anchor // never without an active share of its cluster
	closed          bool
}

// slot is a share whose value is on a locked page.
type slot struct {
	tag   Tag
	value secret.Key
}

// NewHolder returns an empty Holder.
func NewHolder(log *slog.Logger) *Holder {
	return &Holder{instance: newInstance(), log: log}
}

func newInstance() string {
	random := make([]byte, 16)
	// crypto/rand.Read never fails; it ends the program instead.
	_, _ = rand.Read(random)
	return hex.EncodeToString(random)
}

// Instance is what signatures for this Holder are bound to, until it is erased.
func (h *Holder) Instance() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.instance
}

// Contribute puts a share into the pending slot. The share that is active
// already is taken as done.
func (h *Holder) Contribute(share *Share, signature []byte) error {
	if err := share.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	// The tag is kept for long; the caller's slice is not.
	tag := share.Tag
	tag.PublicKey = bytes.Clone(tag.PublicKey)
	value := share.Value
	key, err := secret.NewKey(value[:])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFault, err)
	}
	next := &slot{tag: tag, value: key}

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.active.same(next) {
		next.destroy()
		return h.openLocked()
	}
	if err := h.allowedLocked(ContributeMessage(h.instance, share), signature); err != nil {
		next.destroy()
		return err
	}
	h.pending.destroy()
	h.pending = next
	h.log.Info("share contributed, pending", tag.attrs()...)
	return nil
}

// Promote makes the pending share of root key keyID the active one. A key whose
// share is active already, with none pending, is taken as done.
func (h *Holder) Promote(keyID string, signature []byte) error {
	if !hexID(keyID) {
		return fmt.Errorf("%w: the key id is not 32 lower-case hex digits", ErrInvalid)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	fits := h.pending != nil && h.pending.tag.KeyID == keyID
	if !fits && h.active != nil && h.active.tag.KeyID == keyID {
		return h.openLocked()
	}
	if err := h.allowedLocked(PromoteMessage(h.instance, keyID), signature); err != nil {
		return err
	}
	if !fits {
		return ErrNotPending
	}
	// The anchor outlives a change of the root key: the store goes on from there.
	if h.active != nil && h.active.tag.Cluster != h.pending.tag.Cluster {
		h.anchor = nil
	}
	h.active.destroy()
	h.active, h.pending = h.pending, nil
	h.log.Info("share promoted, active", h.active.tag.attrs()...)
	return nil
}

// Erase empties the Keeper, as its restart would: under a new instance, so that no
// signature made before it is good for anything after it.
func (h *Holder) Erase(signature []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var of Tag // without an active share, nobody's signature is looked at
	if h.active != nil {
		of = h.active.tag
	}
	if err := h.allowedLocked(EraseMessage(h.instance, &of), signature); err != nil {
		return err
	}
	if h.active == nil && h.pending == nil {
		return nil
	}
	attrs := []any{"active_erased", h.active != nil, "pending_erased", h.pending != nil}
	if h.active != nil {
		attrs = append(attrs, h.active.tag.attrs()...)
	}
	h.wipeLocked()
	h.instance = newInstance()
	h.log.Info("shares erased", append(attrs, "instance", h.instance)...)
	return nil
}

// SetAnchor keeps a, unless it has a later one. It must be signed by the active
// share's root key.
func (h *Holder) SetAnchor(a Anchor) error {
	if err := a.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.openLocked(); err != nil {
		return err
	}
	switch {
	case h.active == nil:
		return ErrNoShare
	case h.active.tag.Cluster != a.Cluster:
		return ErrForeign
	case !verifies(h.active.tag.PublicKey, AnchorMessage(a), a.Signature):
		return ErrSignature
	}
	if h.anchor != nil {
		order := a.Compare(h.anchor)
		if order == 0 && !bytes.Equal(a.MAC, h.anchor.MAC) {
			return ErrAnchorConflict
		}
		if order <= 0 {
			return nil
		}
	}
	a.MAC, a.Signature = bytes.Clone(a.MAC), bytes.Clone(a.Signature)
	h.anchor = &a
	h.log.Debug("anchor kept", "cluster", a.Cluster, "epoch", a.Epoch, "sequence", a.Sequence)
	return nil
}

// Held returns a copy of what is held, which the caller wipes.
func (h *Holder) Held() (Held, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := Held{Instance: h.instance}
	if err := h.openLocked(); err != nil {
		return held, err
	}
	var err error
	if held.Active, err = h.active.share(); err != nil {
		return Held{}, err
	}
	if held.Pending, err = h.pending.share(); err != nil {
		held.Wipe()
		return Held{}, err
	}
	if h.anchor != nil {
		a := *h.anchor // its slices are never changed
		held.Anchor = &a
	}
	return held, nil
}

// Close wipes everything. Every later call fails.
func (h *Holder) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wipeLocked()
	h.closed = true
}

func (h *Holder) openLocked() error {
	if h.closed {
		return fmt.Errorf("%w: %w", ErrFault, errClosed)
	}
	return nil
}

// allowedLocked says whether a change that message describes may be made: by
// anyone who is served while nothing is active, else by the active share's key.
func (h *Holder) allowedLocked(message, signature []byte) error {
	switch {
	case h.closed:
		return h.openLocked()
	case h.active == nil, verifies(h.active.tag.PublicKey, message, signature):
		return nil
	case len(signature) == 0:
		return ErrHoldsShare
	}
	return ErrSignature
}

func (h *Holder) wipeLocked() {
	h.active.destroy()
	h.pending.destroy()
	h.active, h.pending, h.anchor = nil, nil, nil
}

func (s *slot) destroy() {
	if s != nil {
		s.value.Destroy()
	}
}

// same reports whether two slots hold one share, tag and value.
func (s *slot) same(other *slot) bool {
	if s == nil {
		return false
	}
	a, b := &s.tag, &other.tag
	return a.Format == b.Format && a.Cluster == b.Cluster && a.KeyID == b.KeyID && a.Set == b.Set &&
		a.Index == b.Index && a.Threshold == b.Threshold && a.Count == b.Count &&
		bytes.Equal(a.PublicKey, b.PublicKey) && s.value.Equal(other.value)
}

func (s *slot) share() (*Share, error) {
	if s == nil {
		return nil, nil
	}
	share := &Share{Tag: s.tag}
	share.Tag.PublicKey = bytes.Clone(s.tag.PublicKey)
	err := s.value.Expose(func(value []byte) error {
		copy(share.Value[:], value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: read a share: %w", ErrFault, err)
	}
	return share, nil
}
