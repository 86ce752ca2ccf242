package keeper

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
)

// Signer signs with the root key's Ed25519 key. It is nil where the caller has
// no root key.
type Signer func(message []byte) ([]byte, error)

// The messages that are signed begin with a label of their own, so that a
// signature for one purpose is worth nothing for another.
const (
	labelContribute = "spike/keeper/contribute/1"
	labelPromote    = "spike/keeper/promote/1"
	labelErase      = "spike/keeper/erase/1"
	labelAnchor     = "spike/keeper/anchor/1"
)

// ContributeMessage is what is signed to put share into the pending slot of the
// Keeper process named by instance. It holds a digest of the share, which has
// enough entropy for that to tell nothing.
func ContributeMessage(instance string, share *Share) []byte {
	t := &share.Tag
	digest := sha256.Sum256(share.Value[:])
	m := begin(labelContribute, instance)
	m = number(m, uint64(t.Format))
	m = part(m, t.Cluster)
	m = part(m, t.KeyID)
	m = part(m, t.Set)
	m = number(m, uint64(t.Index))
	m = number(m, uint64(t.Threshold))
	m = number(m, uint64(t.Count))
	m = part(m, t.PublicKey)
	return part(m, digest[:])
}

// PromoteMessage is what is signed to make the pending share of root key keyID
// the active one.
func PromoteMessage(instance, keyID string) []byte {
	return part(begin(labelPromote, instance), keyID)
}

// EraseMessage is what is signed to empty a Keeper of the share that t is of. A
// Keeper that came to hold another one meanwhile keeps that.
func EraseMessage(instance string, t *Tag) []byte {
	m := part(begin(labelErase, instance), t.KeyID)
	return number(m, uint64(t.Index))
}

// AnchorMessage is what is signed of an anchor: all but the signature. It names
// no Keeper, since all of them are told the same.
func AnchorMessage(a Anchor) []byte {
	m := begin(labelAnchor, a.Cluster)
	m = number(m, a.Epoch)
	m = number(m, a.Sequence)
	return part(m, a.MAC)
}

func begin(label, subject string) []byte {
	return part(part(nil, label), subject)
}

// part appends a field after its length, so that no two lists of fields make
// the same message.
func part[T string | []byte](m []byte, field T) []byte {
	m = binary.BigEndian.AppendUint32(m, uint32(len(field)))
	return append(m, field...)
}

func number(m []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(m, n)
}

// verifies is false for anything that is not a signature of message by key;
// unlike ed25519.Verify it does not panic on a key of the wrong size.
func verifies(key, message, signature []byte) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature)
}
