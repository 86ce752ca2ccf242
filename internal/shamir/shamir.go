// Package shamir splits a secret into shares and puts it together again: a
// (threshold, count) Shamir sharing over the scalars of P-256, by circl.
//
// circl works on copies in Go's heap. Those that it hands out are wiped, those that
// it makes on its way cannot be; what this package itself holds is in [secret.Key].
package shamir

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shard"
)

// MaxShares is the most shares that a secret can be split into.
const MaxShares = 255

// ErrUnusable is returned for shares that cannot be combined at all. That a
// combination succeeds does not mean that it is right: check every share's
// digest before, and the key after.
var ErrUnusable = errors.New("these shares cannot be combined")

// Share is one share, by its index from 1.
type Share struct {
	Index int
	Value secret.Key // shard.Size bytes
}

// Destroy wipes all shares.
func Destroy(shares []Share) {
	for _, s := range shares {
		s.Value.Destroy()
	}
}

// NewSecret returns a random scalar that is not zero, 32 bytes. Random bytes
// alone would not do: some are no scalar.
func NewSecret() (secret.Key, error) {
	return toKey(group.P256.RandomNonZeroScalar(rand.Reader))
}

// Split makes count shares of s, any threshold of which give it back. Each call
// makes an independent set: shares of two sets do not combine.
func Split(s secret.Key, threshold, count int) ([]Share, error) {
	if threshold < 1 || count < threshold || count > MaxShares {
		return nil, fmt.Errorf("split: %d of %d is not possible (1 to %d)", threshold, count, MaxShares)
	}
	scalar, err := toScalar(s)
	if err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	if scalar.IsZero() {
		return nil, errors.New("split: the secret is zero")
	}
	defer wipe(scalar)
	// circl's threshold is the degree: one less than the shares needed.
	sharing := secretsharing.New(rand.Reader, uint(threshold-1), scalar)
	shares := make([]Share, 0, count)
	for i, raw := range sharing.Share(uint(count)) {
		value, err := toKey(raw.Value)
		if err != nil {
			Destroy(shares)
			return nil, fmt.Errorf("split: %w", err)
		}
		shares = append(shares, Share{Index: i + 1, Value: value})
	}
	return shares, nil
}

// Combine returns the secret that threshold shares of one set make. It uses
// the first threshold of them and refuses duplicates, which circl panics at.
func Combine(threshold int, shares []Share) (secret.Key, error) {
	if threshold < 1 || len(shares) < threshold {
		return secret.Key{}, fmt.Errorf("%w: %d given, %d needed", ErrUnusable, len(shares), threshold)
	}
	seen := map[int]bool{}
	raw := make([]secretsharing.Share, 0, threshold)
	defer func() {
		for _, r := range raw {
			wipe(r.Value)
		}
	}()
	for _, s := range shares[:threshold] {
		if s.Index < 1 || s.Index > MaxShares || seen[s.Index] {
			return secret.Key{}, fmt.Errorf("%w: index %d is out of range or there twice", ErrUnusable, s.Index)
		}
		seen[s.Index] = true
		value, err := toScalar(s.Value)
		if err != nil {
			return secret.Key{}, fmt.Errorf("%w: share %d: %w", ErrUnusable, s.Index, err)
		}
		raw = append(raw, secretsharing.Share{
			ID:    group.P256.NewScalar().SetUint64(uint64(s.Index)),
			Value: value,
		})
	}
	scalar, err := secretsharing.Recover(uint(threshold-1), raw)
	if err != nil {
		return secret.Key{}, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if scalar.IsZero() {
		return secret.Key{}, fmt.Errorf("%w: the result is zero", ErrUnusable)
	}
	return toKey(scalar)
}

// Place says which share of which root key a share is.
type Place struct {
	Cluster, KeyID [16]byte
	Set            string
	Index          int
}

// Digest returns SHA-256 over the place and the value, each part preceded by
// its length. It may be public: a share has 256 bits of entropy.
func Digest(p Place, value []byte) (digest [sha256.Size]byte) {
	// Written in pieces, a hash would keep the last one, which is the share.
	message := make([]byte, 0, 256)
	defer func() { clear(message[:cap(message)]) }()
	part := func(b []byte) {
		message = binary.BigEndian.AppendUint32(message, uint32(len(b)))
		message = append(message, b...)
	}
	part([]byte("spike share digest v1"))
	part(p.Cluster[:])
	part(p.KeyID[:])
	part([]byte(p.Set))
	part(binary.BigEndian.AppendUint32(nil, uint32(p.Index)))
	part(value)
	secret.Scrubbed(func() { digest = sha256.Sum256(message) })
	return digest
}

// toKey moves a scalar to where keys are.
func toKey(s group.Scalar) (secret.Key, error) {
	defer wipe(s)
	b, err := s.MarshalBinary()
	if err != nil {
		return secret.Key{}, fmt.Errorf("encode scalar: %w", err)
	}
	if len(b) != shard.Size {
		clear(b)
		return secret.Key{}, fmt.Errorf("scalar of %d bytes", len(b))
	}
	return secret.NewKey(b)
}

// wipe clears a scalar where it stands.
func wipe(s group.Scalar) { s.SetUint64(0) }

// toScalar refuses bytes that are not the one encoding of a scalar: circl would
// reduce a larger number silently.
func toScalar(k secret.Key) (group.Scalar, error) {
	scalar := group.P256.NewScalar()
	err := k.Expose(func(b []byte) error {
		if len(b) != shard.Size {
			return fmt.Errorf("%d bytes, want %d", len(b), shard.Size)
		}
		if err := scalar.UnmarshalBinary(b); err != nil {
			return fmt.Errorf("not a scalar: %w", err)
		}
		back, err := scalar.MarshalBinary()
		if err != nil {
			return fmt.Errorf("not a scalar: %w", err)
		}
		defer clear(back)
		if string(back) != string(b) {
			return errors.New("not a scalar: out of range")
		}
		return nil
	})
	return scalar, err
}
