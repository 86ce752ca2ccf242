package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
)

// Opener opens many rows one after another, as [Keyring.Open] and [Keyring.Tag] do,
// in the same memory: a store has a hundred thousand, and what each of them leaves
// behind costs more than its decryption. It is for one goroutine.
type Opener struct {
	keys *Keyring
	room
	integrity hash.Hash
	tagged    []byte
	tag       []byte
}

// NewOpener returns one that works as long as the keys do. The caller closes it.
func (k *Keyring) NewOpener() (*Opener, error) {
	o := &Opener{keys: k}
	err := k.integrity.Expose(func(key []byte) error {
		o.integrity = hmac.New(sha256.New, key)
		// From the first reset on it goes back to states that are made of the key, and
		// are as good as it. The collector takes them with the opener.
		o.integrity.Reset()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open rows: %w", err)
	}
	return o, nil
}

// Open decrypts the row that stands at p; what it returns is valid until the next
// call. It returns [ErrOpen] for one that was not sealed for p with these keys.
func (o *Opener) Open(p Place, s Sealed) ([]byte, error) {
	plaintext, err := o.keys.open(&o.room, p, s)
	if err != nil {
		return nil, err
	}
	if cap(plaintext) > cap(o.plaintext) {
		clear(o.plaintext[:cap(o.plaintext)]) // it was outgrown, and is let go
	}
	o.plaintext = plaintext
	return plaintext, nil
}

// Tag returns what a row at p contributes to the digest over all rows.
func (o *Opener) Tag(p Place, s Sealed) (tag Digest) {
	o.tagged = appendTagged(o.tagged[:0], p, s)
	o.integrity.Reset()
	// A hash never returns an error.
	_, _ = o.integrity.Write(o.tagged)
	o.tag = o.integrity.Sum(o.tag[:0])
	copy(tag[:], o.tag)
	return tag
}

// Close wipes what the last rows left behind, and ends the opener.
func (o *Opener) Close() {
	clear(o.plaintext[:cap(o.plaintext)])
	o.integrity = nil
}
