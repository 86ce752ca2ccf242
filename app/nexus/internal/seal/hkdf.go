package seal

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/spiffe/spike/internal/secret"
)

// HKDF-SHA256 (RFC 5869) with one block of output. crypto/hkdf returns what it
// derives in ordinary memory, and leaves copies of it there; here it is nowhere but
// on the pages that are locked and left out of core files.

// extract is HKDF-Extract.
func extract(s secret.Key, salt []byte) (secret.Key, error) {
	return secret.FillKey(keySize, func(out []byte) error {
		return s.Expose(func(material []byte) error {
			secret.Scrubbed(func() {
				h := hmac.New(sha256.New, salt)
				h.Write(material)
				h.Sum(out[:0])
				// The hash keeps the end of what it was given, and lets go of it with the
				// second reset: the first notes the state that later ones go back to.
				h.Reset()
				h.Reset()
			})
			return nil
		})
	})
}

// expand is HKDF-Expand to as many bytes as a key has, which is one block.
func expand(from secret.Key, label string) (secret.Key, error) {
	return secret.FillKey(keySize, func(out []byte) error {
		return from.Expose(func(material []byte) error {
			secret.Scrubbed(func() {
				h := hmac.New(sha256.New, material)
				h.Write(append([]byte(label), 1))
				h.Sum(out[:0])
			})
			return nil
		})
	})
}
