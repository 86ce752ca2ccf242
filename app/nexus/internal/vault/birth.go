package vault

import (
	"context"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
)

// Birth is a root key in the making: the secret that is split, both sets of
// shares, and the header that will tell them.
type Birth struct {
	Secret  secret.Key
	Keepers []shamir.Share
	Paper   []shamir.Share

	header *Header
	keys   *seal.Keyring
}

// NewBirth makes a new root key for a new cluster: one share for each of the
// Keepers' URLs, in their order, and paper recovery shards. With no Keepers and
// no recovery shards, the key exists in this process alone. The caller calls
// Destroy, whatever becomes of it.
func NewBirth(urls []string, paper, threshold int) (b *Birth, err error) {
	b = &Birth{header: &Header{
		Format: FormatVersion, Cluster: seal.NewID(), KeyID: seal.NewID(), Threshold: threshold,
	}}
	defer func() {
		if err != nil {
			b.Destroy()
			b, err = nil, fmt.Errorf("make a root key: %w", err)
		}
	}()
	if b.Secret, err = shamir.NewSecret(); err != nil {
		return b, err
	}
	if threshold > 0 {
		if b.Keepers, err = shamir.Split(b.Secret, threshold, len(urls)); err != nil {
			return b, err
		}
		if b.Paper, err = shamir.Split(b.Secret, threshold, paper); err != nil {
			return b, err
		}
	}
	for i, s := range b.Keepers {
		digest, err := b.header.digestOf(keeper.SetKeeper, s)
		if err != nil {
			return b, err
		}
		b.header.Keepers = append(b.header.Keepers, KeeperSlot{URL: urls[i], Digest: digest})
	}
	for _, s := range b.Paper {
		digest, err := b.header.digestOf(keeper.SetPaper, s)
		if err != nil {
			return b, err
		}
		b.header.Paper = append(b.header.Paper, digest)
	}
	if b.keys, err = seal.Derive(b.Secret, b.header.Cluster, b.header.KeyID); err != nil {
		return b, err
	}
	check, err := b.keys.Seal(checkPlace(), []byte(checkText))
	if err != nil {
		return b, err
	}
	b.header.Check = check.Bytes()
	return b, nil
}

func (h *Header) digestOf(set string, s shamir.Share) (ShareDigest, error) {
	var digest ShareDigest
	err := s.Value.Expose(func(value []byte) error {
		d := shamir.Digest(h.place(set, s.Index), value)
		digest = d[:]
		return nil
	})
	return digest, err
}

// Header returns the header that the cluster will have.
func (b *Birth) Header() *Header { return b.header }

// PublicKey is the signing key that the shares' tags name.
func (b *Birth) PublicKey() []byte { return b.keys.PublicKey() }

// Sign signs a message to a Keeper as the cluster in the making.
func (b *Birth) Sign(message []byte) ([]byte, error) { return b.keys.Sign(message) }

// Destroy wipes what the birth holds.
func (b *Birth) Destroy() {
	b.Secret.Destroy()
	shamir.Destroy(b.Keepers)
	shamir.Destroy(b.Paper)
	if b.keys != nil {
		b.keys.Destroy()
	}
}

// Create commits the header of a new cluster, which is its birth, and opens the
// vault. It returns api.ErrAlreadyInitialized when there is a header already,
// and then nothing has changed.
func (v *Vault) Create(ctx context.Context, b *Birth) error {
	v.lifecycle.Lock()
	defer v.lifecycle.Unlock()
	switch v.State() {
	case api.StateUninitialized:
	case api.StateFailed:
		return ErrClosed
	default:
		return api.ErrAlreadyInitialized
	}
	// The birth is destroyed by whoever made it; the vault derives keys of its own.
	keys, err := seal.Derive(b.Secret, b.header.Cluster, b.header.KeyID)
	if err != nil {
		return err
	}
	batch, c, err := b.batch(keys)
	if err == nil {
		failpoint.Hit("init.before-commit")
		err = v.store.Commit(ctx, batch)
	}
	if err != nil {
		keys.Destroy()
		for _, s := range c.shares {
			s.value.Destroy()
		}
		return fmt.Errorf("commit the header: %w", err)
	}
	failpoint.Hit("init.committed")
	v.open(b.header, keys, c, nil)
	return nil
}

// batch returns the first batch of the store and the content that it makes.
func (b *Birth) batch(keys *seal.Keyring) (Batch, *content, error) {
	c := &content{}
	raw, err := b.header.encode()
	if err != nil {
		return Batch{}, c, err
	}
	batch := Batch{Header: raw}
	c.held = newHeld(stateRecord{epoch: 1, sequence: 1, header: headerHash(raw)})
	for _, set := range []struct {
		name   string
		shares []shamir.Share
	}{{keeper.SetKeeper, b.Keepers}, {keeper.SetPaper, b.Paper}} {
		for _, s := range set.shares {
			value, err := s.Value.Clone()
			if err != nil {
				return Batch{}, c, err
			}
			record := shareRecord{set: set.name, index: s.Index, value: value}
			c.shares = append(c.shares, record)
			row, tag, err := record.seal(keys, uint64(len(c.shares)))
			if err != nil {
				return Batch{}, c, err
			}
			batch.Put = append(batch.Put, row)
			c.state.digest.Toggle(tag)
			c.state.rows++
		}
	}
	batch.State, err = keys.Seal(statePlace(), c.state.encode())
	return batch, c, err
}

func (r *shareRecord) seal(keys *seal.Keyring, id uint64) (Row, seal.Digest, error) {
	row := Row{Table: TableShare, ID: id}
	plaintext, err := r.encode()
	if err != nil {
		return row, seal.Digest{}, err
	}
	defer clear(plaintext)
	if row.Sealed, err = keys.Seal(row.Place(), plaintext); err != nil {
		return row, seal.Digest{}, err
	}
	tag, err := keys.Tag(row.Place(), row.Sealed)
	return row, tag, err
}
