package format

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
)

const (
	keySize   = 32 // of every key, of the scalar, and of a share
	nonceSize = 24
	tagSize   = 16

	// The labels are HKDF's info, without a length or an end.
	labelRoot      = "spike root key v1"
	labelRow       = "spike row v1"
	labelIntegrity = "spike row integrity v1"
	labelAnchor    = "spike anchor v1"
	labelSigning   = "spike keeper signing v1"

	checkText = "spike root key check v1"
)

// Combine returns the scalar that shares of one set make: the polynomial through
// them at 0, by Lagrange, modulo the order of P-256.
func Combine(shares map[int][]byte) ([]byte, error) {
	order := elliptic.P256().Params().N
	sum := new(big.Int)
	for i, value := range shares {
		term := new(big.Int).SetBytes(value)
		// Each scalar has one encoding: one that is too large is not reduced.
		if len(value) != keySize || term.Cmp(order) >= 0 {
			return nil, fmt.Errorf("share %d is no scalar", i)
		}
		below := big.NewInt(1)
		for j := range shares {
			if j != i {
				term.Mul(term, big.NewInt(int64(j)))
				below.Mul(below, big.NewInt(int64(j-i)))
			}
		}
		below.Mod(below, order) // it may be negative
		sum.Add(sum, term.Mul(term, below.ModInverse(below, order)))
	}
	if sum.Mod(sum, order).Sign() == 0 {
		return nil, errors.New("the shares make zero")
	}
	return sum.FillBytes(make([]byte, keySize)), nil
}

// Keys are what the scalar gives for one cluster and one key id.
type Keys struct {
	Cluster, KeyID []byte // decoded
	Salt           []byte

	Root, Row, Integrity, Anchor, Signing []byte // 32 bytes each
}

// Derive derives the keys. It refuses a scalar whose keys do not open the check
// value.
func (h *Header) Derive(scalar []byte) (*Keys, error) {
	k := &Keys{Cluster: decoded(h.Cluster), KeyID: decoded(h.KeyID)}
	k.Salt = append(bytes.Clone(k.Cluster), k.KeyID...)
	var err error
	// Extract and expand, which the others have no need of: they come of a key.
	if k.Root, err = hkdf.Key(sha256.New, scalar, k.Salt, labelRoot, keySize); err != nil {
		return nil, fmt.Errorf("derive the root key: %w", err)
	}
	for _, purpose := range [...]struct {
		key   *[]byte
		label string
	}{
		{&k.Row, labelRow},
		{&k.Integrity, labelIntegrity},
		{&k.Anchor, labelAnchor},
		{&k.Signing, labelSigning},
	} {
		if *purpose.key, err = hkdf.Expand(sha256.New, k.Root, purpose.label, keySize); err != nil {
			return nil, fmt.Errorf("derive %q: %w", purpose.label, err)
		}
	}
	check, err := h.CheckRow()
	if err != nil {
		return nil, err
	}
	if text, err := k.Open(check); err != nil || string(text) != checkText {
		return nil, errors.New("the key does not open the check value")
	}
	return k, nil
}

// CheckRow is the check value, in a place of its own.
func (h *Header) CheckRow() (Row, error) {
	sealed, err := unbase64(h.Check)
	if err != nil {
		return Row{}, fmt.Errorf("read the check value: %w", err)
	}
	return Row{Table: "check", ID: 1, Sealed: sealed}, nil
}

// Associated is what a row is bound to.
func (k *Keys) Associated(row Row) []byte {
	b := part(nil, k.Cluster)
	b = part(b, []byte(row.Table))
	b = part(b, number(row.ID))
	return part(b, k.KeyID)
}

// MessageKey is the AES-256-GCM key that XAES-256-GCM derives from the first half
// of a nonce.
func (k *Keys) MessageKey(nonce []byte) ([]byte, error) {
	// NIST SP 800-108 in counter mode, over CMAC of one block for each half.
	block, err := aes.NewCipher(k.Row)
	if err != nil {
		return nil, fmt.Errorf("row key: %w", err)
	}
	var zero [aes.BlockSize]byte
	block.Encrypt(zero[:], zero[:])
	// CMAC's first subkey: L doubled in GF(2^128).
	double := new(big.Int).SetBytes(zero[:])
	double.Lsh(double, 1)
	if double.Bit(128) == 1 {
		double.SetBit(double, 128, 0)
		double.Xor(double, big.NewInt(0x87))
	}
	k1 := double.FillBytes(make([]byte, aes.BlockSize))
	var key []byte
	for counter := byte(1); counter <= 2; counter++ {
		m := append([]byte{0, counter, 'X', 0}, nonce[:12]...)
		for i := range m {
			m[i] ^= k1[i]
		}
		block.Encrypt(m, m)
		key = append(key, m...)
	}
	return key, nil
}

// Open decrypts a row.
func (k *Keys) Open(row Row) ([]byte, error) {
	if len(row.Sealed) < nonceSize+tagSize {
		return nil, errors.New("it is too short")
	}
	nonce, rest := row.Sealed[:nonceSize], row.Sealed[nonceSize:]
	key, err := k.MessageKey(nonce)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nonce[12:], rest, k.Associated(row))
}

// TagMessage is what a row's tag is the HMAC of. The id has no length before it, as
// it has in [Keys.Associated].
func TagMessage(row Row) []byte {
	content := sha256.Sum256(row.Sealed)
	m := part(nil, []byte(row.Table))
	m = append(m, number(row.ID)...)
	return append(m, content[:]...)
}

// Tag is what a row adds to the digest.
func (k *Keys) Tag(row Row) []byte { return mac(k.Integrity, TagMessage(row)) }

// AnchorMAC is what Keepers are told of a state, given its plaintext.
func (k *Keys) AnchorMAC(state []byte) []byte { return mac(k.Anchor, state) }

// AnchorMessage is what is signed of an anchor.
func (h *Header) AnchorMessage(epoch, sequence uint64, mac []byte) []byte {
	m := part(nil, []byte("spike/keeper/anchor/1"))
	m = part(m, []byte(h.Cluster)) // as text, here
	m = append(m, number(epoch)...)
	m = append(m, number(sequence)...)
	return part(m, mac)
}

// Signer is the Ed25519 key that an anchor is signed with.
func (k *Keys) Signer() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.Signing) }

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
