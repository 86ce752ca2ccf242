package trace

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
	"github.com/spiffe/spike/internal/shard"
)

// The names of keys, as finds have them.
const (
	Split        = "the secret that was split"
	RootKey      = "the root key"
	RowKey       = "the row key"
	IntegrityKey = "the integrity key"
	SigningKey   = "the signing key"
	AnchorKey    = "the anchor key"
)

// purposes are the labels of what is derived from a root key. Nexus has the same;
// that a search finds them where they are kept shows that they are.
func purposes() map[string]string {
	return map[string]string{
		RowKey:       "spike row v1",
		IntegrityKey: "spike row integrity v1",
		SigningKey:   "spike keeper signing v1",
		AnchorKey:    "spike anchor v1",
	}
}

// AddShares looks for shares, by their indexes; what they are of is called of.
func (s *Set) AddShares(of string, shares map[int]shard.Value) {
	for index, value := range shares {
		s.Add(fmt.Sprintf("%s %d", of, index), value[:])
	}
}

// AddKeys looks for the secret that shares of one set make, for the root key of
// that cluster and key id, and for what is derived from it.
func (s *Set) AddKeys(shares map[int]shard.Value, threshold int, cluster, keyID string) error {
	salt, err := hex.DecodeString(cluster + keyID)
	if err != nil {
		return fmt.Errorf("cluster and key: %w", err)
	}
	var list []shamir.Share
	defer func() { shamir.Destroy(list) }()
	for index, value := range shares {
		key, err := secret.NewKey(value[:])
		if err != nil {
			return fmt.Errorf("share %d: %w", index, err)
		}
		list = append(list, shamir.Share{Index: index, Value: key})
	}
	split, err := shamir.Combine(threshold, list)
	if err != nil {
		return fmt.Errorf("combine shares: %w", err)
	}
	defer split.Destroy()
	return split.Expose(func(b []byte) error {
		s.Add(Split, b)
		root, err := hkdf.Key(sha256.New, b, salt, "spike root key v1", sha256.Size)
		if err != nil {
			return fmt.Errorf("derive the root key: %w", err)
		}
		s.Add(RootKey, root)
		for name, label := range purposes() {
			key, err := hkdf.Expand(sha256.New, root, label, sha256.Size)
			if err != nil {
				return fmt.Errorf("derive %s: %w", name, err)
			}
			s.Add(name, key)
		}
		return nil
	})
}

// KeptByNexus names the keys that Nexus has on pages that are locked and left out
// of core files; it has all shares there as well.
func KeptByNexus() []string { return []string{RootKey, IntegrityKey, SigningKey, AnchorKey} }

// OrdinaryInNexus says what of keys may be in ordinary memory of a Nexus, which a
// core file has: what libraries make of them. A share is there in JSON, in which it
// came and went, and as the numbers that arithmetic works with, of which it leaves
// the secret that was split, too; the two keys that ciphers and signatures work with
// are there as such. The root key never is.
func OrdinaryInNexus(found Found) bool {
	switch found.Name {
	case RootKey, IntegrityKey, AnchorKey:
		return false
	}
	return found.How == AsItIs || found.How == Reversed || OrdinaryInKeeper(found)
}

// OrdinaryInKeeper is the same of a Keeper: its share is there in JSON alone.
func OrdinaryInKeeper(found Found) bool { return found.How == InJSON }

// Refused returns a sentence for each find that may not be, in order.
func Refused(found map[Found]int, allowed func(Found) bool) (list []string) {
	for at, n := range found {
		if !allowed(at) {
			list = append(list, fmt.Sprintf("%s (%d times)", at, n))
		}
	}
	slices.Sort(list)
	return list
}
