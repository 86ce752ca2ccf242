package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
	"github.com/spiffe/spike/internal/shard"
)

// FormatVersion is the storage format that this program writes.
const FormatVersion = 1

// Header is what a store says in plain: enough to recognize shares and the root
// key, and nothing about the secrets.
type Header struct {
	Format    int     `json:"format"`
	Cluster   seal.ID `json:"cluster"`
	KeyID     seal.ID `json:"keyId"`
	Threshold int     `json:"threshold"`
	// Keepers says which share belongs to which Keeper; the index is the
	// position, from 1.
	Keepers []KeeperSlot `json:"keepers"`
	// Paper has the digests of the recovery shards, by index from 1.
	Paper []ShareDigest `json:"paper"`
	// Check is a sealed constant. A key that does not open it is not the root key.
	Check []byte `json:"check"`
}

// KeeperSlot is one Keeper and the digest of the share that it is to hold.
type KeeperSlot struct {
	URL    string      `json:"url"`
	Digest ShareDigest `json:"digest"`
}

// ShareDigest is a share's [shamir.Digest]; in JSON, base64.
type ShareDigest []byte

const checkText = "spike root key check v1"

func checkPlace() seal.Place { return seal.Place{Table: "check", ID: 1} }

// encode returns the header as it stands in the store. The state row vouches for
// exactly these bytes.
func (h *Header) encode() ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	return b, nil
}

// ParseHeader reads a header. It returns ErrFormat for another format version
// and ErrDamaged for a header that makes no sense.
func ParseHeader(raw []byte) (*Header, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return nil, damaged("the header cannot be read: %w", err)
	}
	if version.Format < 1 {
		return nil, damaged("the header has no format version")
	}
	if version.Format != FormatVersion {
		return nil, fmt.Errorf("%w: it has format %d and this program knows %d; "+
			"use the release that wrote it, or a newer one", ErrFormat, version.Format, FormatVersion)
	}
	h := &Header{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return nil, damaged("the header cannot be read: %w", err)
	}
	if err := h.validate(); err != nil {
		return nil, damaged("the header makes no sense: %w", err)
	}
	return h, nil
}

func (h *Header) validate() error {
	if h.Cluster == (seal.ID{}) || h.KeyID == (seal.ID{}) {
		return errors.New("it names no cluster or no key")
	}
	if len(h.Check) == 0 {
		return errors.New("it has no key check value")
	}
	if len(h.Keepers) > shamir.MaxShares || len(h.Paper) > shamir.MaxShares {
		return errors.New("it has too many shares")
	}
	if h.Threshold < 0 || h.Threshold == 0 && len(h.Keepers)+len(h.Paper) > 0 || h.Threshold > len(h.Keepers) || h.Threshold > len(h.Paper) {
		return fmt.Errorf("threshold %d with %d Keepers and %d recovery shards",
			h.Threshold, len(h.Keepers), len(h.Paper))
	}
	urls := map[string]bool{}
	for i, k := range h.Keepers {
		if len(k.Digest) != sha256.Size || k.URL == "" || urls[k.URL] {
			return fmt.Errorf("the entry of Keeper %d", i+1)
		}
		urls[k.URL] = true
	}
	for i, d := range h.Paper {
		if len(d) != sha256.Size {
			return fmt.Errorf("the entry of recovery shard %d", i+1)
		}
	}
	return nil
}

func (h *Header) digest(set string, index int) ShareDigest {
	switch {
	case index < 1:
	case set == keeper.SetKeeper && index <= len(h.Keepers):
		return h.Keepers[index-1].Digest
	case set == keeper.SetPaper && index <= len(h.Paper):
		return h.Paper[index-1]
	}
	return nil
}

func (h *Header) place(set string, index int) shamir.Place {
	return shamir.Place{Cluster: h.Cluster, KeyID: h.KeyID, Set: set, Index: index}
}

// Fits reports whether value is the share of that set and index, by the digest
// in this header. What arrives with a share does not count.
func (h *Header) Fits(set string, index int, value *shard.Value) bool {
	want := h.digest(set, index)
	got := shamir.Digest(h.place(set, index), value[:])
	return want != nil && bytes.Equal(want, got[:])
}

// Tag returns what a Keeper is told about the share at index.
func (h *Header) Tag(index int, publicKey []byte) keeper.Tag {
	return keeper.Tag{
		Format: 1, Cluster: h.Cluster.String(), KeyID: h.KeyID.String(), Set: keeper.SetKeeper,
		Index: index, Threshold: h.Threshold, Count: len(h.Keepers), PublicKey: publicKey,
	}
}

// unlock derives the keys from the secret that was split. It returns
// [ErrWrongKey] unless they open the check value.
func (h *Header) unlock(s secret.Key) (*seal.Keyring, error) {
	keys, err := seal.Derive(s, h.Cluster, h.KeyID)
	if err != nil {
		return nil, err
	}
	text, err := keys.Open(checkPlace(), seal.FromStore(h.Check))
	if err != nil || string(text) != checkText {
		keys.Destroy()
		return nil, ErrWrongKey
	}
	return keys, nil
}
