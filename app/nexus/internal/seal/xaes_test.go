package seal

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"testing"
)

// TestXAESVectors has the two vectors of the specification, one for each value
// of the top bit that CMAC's subkey depends on.
func TestXAESVectors(t *testing.T) {
	for _, c := range []struct{ key, associated, want string }{
		{"\x01", "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{"\x03", "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte(c.key), keySize))
		if err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		sealed, err := x.seal(nil, nonce, []byte("XAES-256-GCM"), []byte(c.associated))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sealed); got != c.want {
			t.Errorf("key %x…: got %s, want %s", c.key, got, c.want)
		}
		if back, err := x.open(nil, new([keySize]byte), nonce, sealed, []byte(c.associated)); err != nil || string(back) != "XAES-256-GCM" {
			t.Errorf("key %x…: opened to %q, %v", c.key, back, err)
		}
	}
}

// TestXAESAccumulated is the specification's test over 10,000 random inputs.
func TestXAESAccumulated(t *testing.T) {
	source, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := source.Read(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for range 10_000 {
		key, nonce := read(keySize), read(nonceSize)
		plaintext := read(int(read(1)[0]))
		associated := read(int(read(1)[0]))
		x, err := newXAES(key)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := x.seal(nil, nonce, plaintext, associated)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := x.open(nil, new([keySize]byte), nonce, sealed, associated); err != nil || !bytes.Equal(back, plaintext) {
			t.Fatalf("did not come back: %v", err)
		}
		if _, err := sum.Write(sealed); err != nil {
			t.Fatal(err)
		}
	}
	digest := make([]byte, 32)
	if _, err := sum.Read(digest); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(digest); got != "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939" {
		t.Errorf("got %s", got)
	}
}
