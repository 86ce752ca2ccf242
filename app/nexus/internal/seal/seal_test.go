package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/secret"
)

var (
	clusterA = seal.ID{1}
	keyA     = seal.ID{2}
)

func keyring(t testing.TB, material byte, cluster, keyID seal.ID) *seal.Keyring {
	t.Helper()
	s, err := secret.NewKey(bytes.Repeat([]byte{material}, 32))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy()
	k, err := seal.Derive(s, cluster, keyID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Destroy)
	return k
}

func TestOpensWhatItSealed(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	again := keyring(t, 7, clusterA, keyA)
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		place := seal.Place{Table: rapid.String().Draw(t, "table"), ID: rapid.Uint64().Draw(t, "id")}
		sealed, err := k.Seal(place, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed.Bytes()) != len(plaintext)+seal.Overhead {
			t.Fatalf("%d bytes became %d", len(plaintext), len(sealed.Bytes()))
		}
		back, err := again.Open(place, seal.FromStore(bytes.Clone(sealed.Bytes())))
		if err != nil || !bytes.Equal(back, plaintext) {
			t.Fatalf("did not come back: %v", err)
		}
	})
}

// TestNothingElseOpens moves and edits a row in every way that matters.
func TestNothingElseOpens(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	place := seal.Place{Table: "secret", ID: 5}
	sealed, err := k.Seal(place, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		k *seal.Keyring
		p seal.Place
	}{
		"other id":      {k, seal.Place{Table: "secret", ID: 6}},
		"other table":   {k, seal.Place{Table: "policy", ID: 5}},
		"other cluster": {keyring(t, 7, seal.ID{9}, keyA), place},
		"other key id":  {keyring(t, 7, clusterA, seal.ID{9}), place},
		"other secret":  {keyring(t, 8, clusterA, keyA), place},
	} {
		if _, err := c.k.Open(c.p, sealed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for i := range sealed.Bytes() {
		edited := bytes.Clone(sealed.Bytes())
		edited[i] ^= 1
		if _, err := k.Open(place, seal.FromStore(edited)); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("byte %d edited: got %v", i, err)
		}
		if _, err := k.Open(place, seal.FromStore(sealed.Bytes()[:i])); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("cut to %d: got %v", i, err)
		}
	}
}

func TestTagDependsOnEveryPart(t *testing.T) {
	k, other := keyring(t, 7, clusterA, keyA), keyring(t, 8, clusterA, keyA)
	row := seal.FromStore([]byte("ciphertext"))
	seen := map[seal.Digest]bool{}
	for _, c := range []struct {
		k *seal.Keyring
		p seal.Place
		s seal.Sealed
	}{
		{k, seal.Place{Table: "a", ID: 1}, row},
		{k, seal.Place{Table: "a", ID: 2}, row},
		{k, seal.Place{Table: "b", ID: 1}, row},
		{k, seal.Place{Table: "a", ID: 1}, seal.FromStore([]byte("ciphertexT"))},
		{other, seal.Place{Table: "a", ID: 1}, row},
	} {
		tag, err := c.k.Tag(c.p, c.s)
		if err != nil {
			t.Fatal(err)
		}
		seen[tag] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d different tags, want 5", len(seen))
	}
}

func TestSignatures(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	signature, err := k.Sign([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(k.PublicKey(), []byte("message"), signature) {
		t.Error("does not verify")
	}
	if ed25519.Verify(keyring(t, 8, clusterA, keyA).PublicKey(), []byte("message"), signature) {
		t.Error("verifies under another key")
	}
}

func TestDestroyedKeysAreOfNoUse(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	k.Destroy()
	if _, err := k.Sign(nil); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("Sign: %v", err)
	}
	if _, err := k.Tag(seal.Place{}, seal.Sealed{}); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("Tag: %v", err)
	}
}

func TestIDText(t *testing.T) {
	id := seal.NewID()
	back, err := seal.ParseID(id.String())
	if err != nil || back != id {
		t.Errorf("got %v, %v", back, err)
	}
	for _, bad := range []string{"", "00", id.String() + "0", "zz" + id.String()[2:]} {
		if _, err := seal.ParseID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
