package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

const (
	keySize   = 32
	nonceSize = 24
	// Overhead is what sealing adds to a row's length, in bytes: nonce and tag.
	Overhead = nonceSize + 16
)

// xaes is XAES-256-GCM as specified by C2SP (c2sp.org/XAES-256-GCM): a 192-bit
// nonce, half of which derives an AES-256-GCM key of its own. Random nonces
// stay safe for 2^80 messages under one key, where plain AES-GCM's 96 bits wear
// out after 2^32.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

func newXAES(key []byte) (*xaes, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("xaes: key of %d bytes, want %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("xaes: %w", err)
	}
	x := &xaes{block: block}
	// CMAC's subkey (NIST SP 800-38B, 6.1): double the encrypted zero block.
	block.Encrypt(x.k1[:], x.k1[:])
	carry := byte(0)
	for i := len(x.k1) - 1; i >= 0; i-- {
		next := x.k1[i] >> 7
		x.k1[i] = x.k1[i]<<1 | carry
		carry = next
	}
	x.k1[len(x.k1)-1] ^= carry * 0b10000111
	return x, nil
}

// derive returns the AEAD for one nonce's first half: CMAC in counter mode over
// two single blocks (NIST SP 800-108). key is where the derived key is for a moment.
func (x *xaes) derive(key *[keySize]byte, nonce []byte) (cipher.AEAD, error) {
	clear(key[:])
	defer clear(key[:])
	for i := range 2 {
		m := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		m[1], m[2] = byte(i+1), 'X'
		copy(m[4:], nonce[:12])
		for j := range m {
			m[j] ^= x.k1[j]
		}
		x.block.Encrypt(m, m)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("xaes: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("xaes: %w", err)
	}
	return aead, nil
}

func (x *xaes) seal(dst, nonce, plaintext, associated []byte) ([]byte, error) {
	aead, err := x.derive(new([keySize]byte), nonce)
	if err != nil {
		return nil, err
	}
	return aead.Seal(dst, nonce[12:], plaintext, associated), nil
}

// open appends the plaintext to dst, and needs room for a key.
func (x *xaes) open(dst []byte, key *[keySize]byte, nonce, ciphertext, associated []byte) ([]byte, error) {
	aead, err := x.derive(key, nonce)
	if err != nil {
		return nil, err
	}
	return aead.Open(dst, nonce[12:], ciphertext, associated)
}
