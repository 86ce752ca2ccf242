// Package keeper has both ends of the share protocol: the Keeper's slots and the
// handler that serves them, and Nexus's client for one Keeper.
//
// A Keeper holds, in memory alone, an active share, a pending one and an anchor.
// It cannot know which share is right. What protects a good one from a Nexus
// that has the wrong root key is a signature: only the key that belongs to the
// active share changes what a Keeper with an active share holds.
package keeper

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spiffe/spike/internal/shard"
)

// The sets that a root key's shares come in. Each is a splitting of its own, so
// that shares of different sets never add up.
const (
	SetKeeper = "keeper" // one share for each Keeper
	SetPaper  = "paper"  // the recovery shards that people hold
)

// Format is the only format of a Tag so far.
const Format = 1

const (
	idDigits   = 32 // of a cluster id or key id: 16 bytes in lower-case hex
	macSize    = sha256.Size
	mostShares = 255
)

// Tag says which share a share is. It is public.
type Tag struct {
	Format    int    `json:"format"`
	Cluster   string `json:"cluster"` // 32 lower-case hex digits
	KeyID     string `json:"keyId"`   // 32 lower-case hex digits
	Set       string `json:"set"`
	Index     int    `json:"index"` // from 1 to Count
	Threshold int    `json:"threshold"`
	Count     int    `json:"count"`
	// PublicKey is the Ed25519 key that belongs to the root key: what it signed
	// may change a Keeper in which this share is active.
	PublicKey []byte `json:"publicKey"`
}

// Validate says whether this can be the tag of a share in a Keeper.
func (t *Tag) Validate() error {
	switch {
	case t.Format != Format:
		return fmt.Errorf("format %d is not known", t.Format)
	case !hexID(t.Cluster):
		return errors.New("the cluster id is not 32 lower-case hex digits")
	case !hexID(t.KeyID):
		return errors.New("the key id is not 32 lower-case hex digits")
	case t.Set != SetKeeper:
		return errors.New("the share is not one of the set for Keepers")
	case t.Count < 1 || t.Count > mostShares:
		return fmt.Errorf("a count of %d is not from 1 to %d", t.Count, mostShares)
	case t.Threshold < 1 || t.Threshold > t.Count:
		return fmt.Errorf("a threshold of %d is not from 1 to %d", t.Threshold, t.Count)
	case t.Index < 1 || t.Index > t.Count:
		return fmt.Errorf("an index of %d is not from 1 to %d", t.Index, t.Count)
	case len(t.PublicKey) != ed25519.PublicKeySize:
		return fmt.Errorf("a public key of %d bytes: want %d", len(t.PublicKey), ed25519.PublicKeySize)
	}
	return nil
}

// hexID insists on lower case, so that an id has one spelling and comparing two
// is comparing strings.
func hexID(s string) bool {
	return len(s) == idDigits && strings.Trim(s, "0123456789abcdef") == ""
}

// attrs names a share in a log.
func (t *Tag) attrs() []any {
	return []any{"cluster", t.Cluster, "key_id", t.KeyID, "index", t.Index, "threshold", t.Threshold, "count", t.Count}
}

// Share is a share and its tag.
type Share struct {
	Tag   Tag
	Value shard.Value
}

// LogValue names the share and leaves its value out.
func (s Share) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("cluster", s.Tag.Cluster), slog.String("key_id", s.Tag.KeyID),
		slog.String("set", s.Tag.Set), slog.Int("index", s.Tag.Index))
}

// Format names the share, whatever the verb. That the value redacts itself is not
// enough: told to print a pointer with %s, fmt calls no methods below it.
func (s Share) Format(f fmt.State, _ rune) {
	// A formatter has nowhere to report a failed write.
	_, _ = fmt.Fprintf(f, "share %d of %d, set %q, key %q, cluster %q",
		s.Tag.Index, s.Tag.Count, s.Tag.Set, s.Tag.KeyID, s.Tag.Cluster)
}

// Validate says whether a Keeper can hold this share. No error repeats its value.
func (s *Share) Validate() error {
	if err := s.Tag.Validate(); err != nil {
		return err
	}
	if s.Value == (shard.Value{}) {
		return errors.New("the share is zero")
	}
	return nil
}

// Anchor is how far a cluster's store had come, signed by its root key. A Keeper
// keeps the highest, so that an older copy of the store does not pass for the
// present one.
type Anchor struct {
	Cluster   string `json:"cluster"`
	Epoch     uint64 `json:"epoch"`
	Sequence  uint64 `json:"sequence"`
	MAC       []byte `json:"mac"` // 32 bytes: of the digest over all rows
	Signature []byte `json:"signature"`
}

// Validate checks the form and not the signature.
func (a *Anchor) Validate() error {
	switch {
	case !hexID(a.Cluster):
		return errors.New("the cluster id is not 32 lower-case hex digits")
	case len(a.MAC) != macSize:
		return fmt.Errorf("a MAC of %d bytes: want %d", len(a.MAC), macSize)
	case len(a.Signature) != ed25519.SignatureSize:
		return fmt.Errorf("a signature of %d bytes: want %d", len(a.Signature), ed25519.SignatureSize)
	}
	return nil
}

// Compare orders two anchors of a cluster by epoch, then by sequence: below 0
// when a is behind b, 0 when both are at one place.
func (a *Anchor) Compare(b *Anchor) int {
	for _, pair := range [...][2]uint64{{a.Epoch, b.Epoch}, {a.Sequence, b.Sequence}} {
		if pair[0] < pair[1] {
			return -1
		}
		if pair[0] > pair[1] {
			return 1
		}
	}
	return 0
}

// Held is what a Keeper holds. A slot that is empty is nil.
type Held struct {
	// Instance is random per Keeper process, and another one after an erase.
	// Signatures are bound to it, so that one that a Keeper was sent is worth
	// nothing at another, or after a restart.
	Instance        string
	Active, Pending *Share
	Anchor          *Anchor
}

// Format names the shares and leaves their values out, whatever the verb.
func (h Held) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "instance %s, active: %v, pending: %v", h.Instance, h.Active, h.Pending)
}

// LogValue leaves the shares' values out.
func (h Held) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("instance", h.Instance)}
	if h.Active != nil {
		attrs = append(attrs, slog.Any("active", *h.Active))
	}
	if h.Pending != nil {
		attrs = append(attrs, slog.Any("pending", *h.Pending))
	}
	return slog.GroupValue(attrs...)
}

// Wipe clears the shares' values once they are of no more use.
func (h *Held) Wipe() {
	for _, s := range [...]*Share{h.Active, h.Pending} {
		if s != nil {
			clear(s.Value[:])
		}
	}
}
