// Package seal turns rows into ciphertext and back, under keys that are derived
// from the root key. Only what it sealed can be given to a store.
package seal

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/internal/secret"
)

// ErrOpen is returned for a row that does not authenticate: it was changed,
// belongs elsewhere, or was sealed under another key.
var ErrOpen = errors.New("the row does not authenticate")

// ID names a cluster or a root key: 16 random bytes, written as 32 hex digits.
type ID [16]byte

// NewID returns a random ID.
func NewID() ID {
	var id ID
	// crypto/rand.Read never returns an error; it ends the program instead.
	_, _ = rand.Read(id[:])
	return id
}

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("id of %d characters, want %d hex digits", len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id: %w", err)
	}
	return id, nil
}

// String returns 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText is String, for JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseID, for JSON.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	*id = parsed
	return err
}

// Place is where a row stands. A row opens in its own place only.
type Place struct {
	Table string
	ID    uint64
}

// Sealed is a row's ciphertext: nonce (24 bytes), ciphertext, tag (16).
type Sealed struct {
	b []byte
}

// FromStore wraps what a store read back. Whether it is anything is found out by
// opening it.
func FromStore(b []byte) Sealed { return Sealed{b} }

// Bytes returns the ciphertext for a store to write; it must not be changed.
func (s Sealed) Bytes() []byte { return s.b }

// Digest is the XOR of the tags of rows: it stands for a set of rows, in any
// order, and is kept up by adding what comes and what goes.
type Digest [sha256.Size]byte

// Toggle adds a tag that is not in the digest, or takes one out that is.
func (d *Digest) Toggle(tag Digest) {
	for i := range d {
		d[i] ^= tag[i]
	}
}

// Keyring has the keys that one root key gives. It is safe for concurrent use.
type Keyring struct {
	cluster, keyID ID
	rows           *xaes
	root           secret.Key
	integrity      secret.Key
	signing        secret.Key // ed25519 seed
	anchor         secret.Key
	public         ed25519.PublicKey
}

// Derive makes the keyring of cluster and keyID from the secret that was split:
// root key = HKDF-SHA256(s, salt = cluster ‖ keyID), and from it one key for
// each purpose.
func Derive(s secret.Key, cluster, keyID ID) (*Keyring, error) {
	k := &Keyring{cluster: cluster, keyID: keyID}
	extracted, err := extract(s, append(cluster[:], keyID[:]...))
	defer extracted.Destroy()
	if err == nil {
		k.root, err = expand(extracted, "spike root key v1")
	}
	if err == nil {
		err = k.expand()
	}
	if err != nil {
		k.Destroy()
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return k, nil
}

func (k *Keyring) expand() error {
	var err error
	if k.integrity, err = expand(k.root, "spike row integrity v1"); err != nil {
		return err
	}
	if k.signing, err = expand(k.root, "spike keeper signing v1"); err != nil {
		return err
	}
	if k.anchor, err = expand(k.root, "spike anchor v1"); err != nil {
		return err
	}
	rows, err := expand(k.root, "spike row v1")
	if err != nil {
		return err
	}
	defer rows.Destroy()
	err = rows.Expose(func(b []byte) error {
		k.rows, err = newXAES(b)
		return err
	})
	if err != nil {
		return err
	}
	return k.signing.Expose(func(seed []byte) error {
		private := ed25519.NewKeyFromSeed(seed)
		defer clear(private)
		k.public = append(ed25519.PublicKey(nil), private[ed25519.SeedSize:]...)
		return nil
	})
}

// Cluster returns the cluster that the keys belong to.
func (k *Keyring) Cluster() ID { return k.cluster }

// KeyID returns the root key's id.
func (k *Keyring) KeyID() ID { return k.keyID }

// Destroy wipes the keys. What AES keeps of one in Go's heap is left to the
// garbage collector.
func (k *Keyring) Destroy() {
	k.root.Destroy()
	k.integrity.Destroy()
	k.signing.Destroy()
	k.anchor.Destroy()
}

// appendAssociated appends what a row is bound to: each part preceded by its length.
func (k *Keyring) appendAssociated(b []byte, p Place) []byte {
	if failpoint.Fault("no-associated-data") {
		return nil
	}
	b = appendPart(b, k.cluster[:])
	b = appendText(b, p.Table)
	b = binary.BigEndian.AppendUint32(b, 8)
	b = binary.BigEndian.AppendUint64(b, p.ID)
	return appendPart(b, k.keyID[:])
}

func appendPart(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}

func appendText(b []byte, part string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}

// Seal encrypts a row for its place.
func (k *Keyring) Seal(p Place, plaintext []byte) (Sealed, error) {
	out := make([]byte, nonceSize, len(plaintext)+Overhead)
	// crypto/rand.Read never returns an error; it ends the program instead.
	_, _ = rand.Read(out)
	out, err := k.rows.seal(out, out[:nonceSize], plaintext, k.appendAssociated(nil, p))
	if err != nil {
		return Sealed{}, fmt.Errorf("seal %s row %d: %w", p.Table, p.ID, err)
	}
	return Sealed{out}, nil
}

// Open decrypts the row that stands at p. It returns [ErrOpen] for one that was
// not sealed for p with these keys.
func (k *Keyring) Open(p Place, s Sealed) ([]byte, error) {
	return k.open(new(room), p, s)
}

// room is what opening a row needs room for, so that the next can have the same.
type room struct {
	key        [keySize]byte
	associated []byte
	plaintext  []byte
}

func (k *Keyring) open(r *room, p Place, s Sealed) ([]byte, error) {
	if len(s.b) < Overhead {
		return nil, fmt.Errorf("%s row %d: %w: it has only %d bytes", p.Table, p.ID, ErrOpen, len(s.b))
	}
	r.associated = k.appendAssociated(r.associated[:0], p)
	plaintext, err := k.rows.open(r.plaintext[:0], &r.key, s.b[:nonceSize], s.b[nonceSize:], r.associated)
	if err != nil {
		return nil, fmt.Errorf("%s row %d: %w", p.Table, p.ID, ErrOpen)
	}
	return plaintext, nil
}

// Tag returns what a row at p contributes to the digest over all rows:
// HMAC-SHA256(integrity key, table ‖ id ‖ SHA-256(ciphertext)).
func (k *Keyring) Tag(p Place, s Sealed) (Digest, error) {
	return mac(k.integrity, appendTagged(make([]byte, 0, 64), p, s))
}

// appendTagged appends what the tag of a row at p is computed over.
func appendTagged(b []byte, p Place, s Sealed) []byte {
	content := sha256.Sum256(s.b)
	b = appendText(b, p.Table)
	b = binary.BigEndian.AppendUint64(b, p.ID)
	return append(b, content[:]...)
}

// AnchorMAC stands for a state of the store towards those who have no key.
func (k *Keyring) AnchorMAC(state []byte) (Digest, error) { return mac(k.anchor, state) }

func mac(key secret.Key, message []byte) (Digest, error) {
	var d Digest
	err := key.Expose(func(key []byte) error {
		h := hmac.New(sha256.New, key)
		h.Write(message)
		h.Sum(d[:0])
		return nil
	})
	return d, err
}

// PublicKey returns the key that Sign's signatures verify under: ed25519.
func (k *Keyring) PublicKey() ed25519.PublicKey { return k.public }

// Sign signs a message to a Keeper.
func (k *Keyring) Sign(message []byte) ([]byte, error) {
	var signature []byte
	err := k.signing.Expose(func(seed []byte) error {
		private := ed25519.NewKeyFromSeed(seed)
		defer clear(private)
		signature = ed25519.Sign(private, message)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature, nil
}
