package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/spiffe/spike/internal/secret"
)

// TestHKDF compares with the standard library's.
func TestHKDF(t *testing.T) {
	for range 100 {
		material, salt := make([]byte, 32), make([]byte, 32)
		_, _ = rand.Read(material) // it never fails
		_, _ = rand.Read(salt)
		want, err := hkdf.Key(sha256.New, material, salt, "some label", keySize)
		if err != nil {
			t.Fatal(err)
		}
		s, err := secret.NewKey(bytes.Clone(material))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Destroy()
		extracted, err := extract(s, salt)
		if err != nil {
			t.Fatal(err)
		}
		defer extracted.Destroy()
		got, err := expand(extracted, "some label")
		if err != nil {
			t.Fatal(err)
		}
		defer got.Destroy()
		err = got.Expose(func(b []byte) error {
			if !bytes.Equal(b, want) {
				t.Errorf("got %x, want %x", b, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var destroyed secret.Key
	if _, err := extract(destroyed, nil); err == nil {
		t.Error("nothing was extracted from")
	}
	if _, err := expand(destroyed, ""); err == nil {
		t.Error("nothing was expanded")
	}
}
