package vault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/secret"
)

const (
	cipherKeySize = 32
	// A key encrypts at most 2^31 messages: random nonces of 96 bits wear out. How
	// many it has encrypted is not written down for each, but reserved in advance;
	// a restart gives up what is left of a reservation.
	cipherMessages    = 1 << 31
	cipherReservation = 1 << 20
)

// cipherKey is a key of the cipher service. It never changes, its counter apart.
type cipherKey struct {
	key      secret.Key
	aead     cipher.AEAD
	created  int64
	reserved uint64
	used     *atomic.Uint64
	row      rowRef
}

func newCipherKey(key secret.Key, created int64, reserved uint64) (*cipherKey, error) {
	k := &cipherKey{key: key, created: created, reserved: reserved, used: &atomic.Uint64{}}
	k.used.Store(reserved)
	err := key.Expose(func(b []byte) error {
		block, err := aes.NewCipher(b)
		if err != nil {
			return err
		}
		k.aead, err = cipher.NewGCM(block)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cipher key: %w", err)
	}
	return k, nil
}

// Encrypted is what encrypting gives: the nonce (12 bytes), and the ciphertext
// with its tag (16 bytes more than the plaintext).
type Encrypted struct {
	Nonce, Ciphertext []byte
}

// Encrypt encrypts for a caller with the newest key of the cipher service,
// AES-256-GCM. A check may say more about the request than the vault knows; its
// error, if any, is a bad request.
func (v *Vault) Encrypt(ctx context.Context, caller Caller, plaintext []byte, check error) (Encrypted, error) {
	r, s, err := v.begin(ctx, caller, decision.CipherEncrypt, "", 0)
	if err != nil {
		return Encrypted{}, err
	}
	if check != nil {
		return Encrypted{}, r.done(ctx, invalid(check))
	}
	k, err := v.cipherKey(ctx, r, s)
	if err != nil {
		return Encrypted{}, r.done(ctx, err)
	}
	nonce := make([]byte, api.CipherNonce)
	// crypto/rand.Read never returns an error; it ends the program instead.
	_, _ = rand.Read(nonce)
	out := Encrypted{Nonce: nonce, Ciphertext: k.aead.Seal(nil, nonce, plaintext, nil)}
	if err := r.done(ctx, nil); err != nil {
		return Encrypted{}, err
	}
	return out, nil
}

// cipherKey returns the newest key, counted as used once more. Where that needs
// a new reservation, or the first key, it is durable before it is used.
func (v *Vault) cipherKey(ctx context.Context, r *request, s *snapshot) (*cipherKey, error) {
	for {
		if len(s.ciphers) > 0 {
			if k := s.ciphers[0]; k.used.Add(1) <= k.reserved {
				return k, nil
			}
		}
		if err := v.change(ctx, r, 0, reserveCipher); err != nil {
			return nil, err
		}
		if s = v.current.Load(); s == nil {
			return nil, api.ErrNotReady
		}
	}
}

// reserveCipher reserves messages under the newest key, or makes another key when
// that one is worn out. Of many callers at once, the first does it for all.
func reserveCipher(t *tx) error {
	if len(t.ciphers) > 0 {
		k := t.ciphers[0]
		if k.used.Load() < k.reserved {
			return nil
		}
		if k.reserved+cipherReservation <= cipherMessages {
			next := *k
			next.reserved += cipherReservation
			next.used = &atomic.Uint64{}
			next.used.Store(k.reserved)
			return t.setCipher(&next)
		}
	}
	key, err := secret.RandomKey(cipherKeySize)
	if err != nil {
		return err
	}
	t.made = append(t.made, key)
	k, err := newCipherKey(key, t.now, 0)
	if err != nil {
		return err
	}
	k.reserved = cipherReservation
	return t.setCipher(k)
}

// Decrypt is the way back. It returns api.ErrBadRequest for what no key of the
// cipher service authenticates.
func (v *Vault) Decrypt(ctx context.Context, caller Caller, in Encrypted, check error) ([]byte, error) {
	r, s, err := v.begin(ctx, caller, decision.CipherDecrypt, "", 0)
	if err != nil {
		return nil, err
	}
	if check == nil && len(in.Nonce) != api.CipherNonce {
		check = fmt.Errorf("a nonce of %d bytes, want %d", len(in.Nonce), api.CipherNonce)
	}
	if check != nil {
		return nil, r.done(ctx, invalid(check))
	}
	for _, k := range s.ciphers {
		plaintext, err := k.aead.Open(nil, in.Nonce, in.Ciphertext, nil)
		if err == nil {
			if err := r.done(ctx, nil); err != nil {
				return nil, err
			}
			return plaintext, nil
		}
	}
	return nil, r.done(ctx, invalid(errors.New("the ciphertext does not authenticate")))
}
