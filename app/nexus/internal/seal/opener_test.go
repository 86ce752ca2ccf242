package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/secret"
)

// TestOpenerAgreesWithTheKeyring has one Opener open rows of all lengths, among them
// some that do not authenticate, in any order.
func TestOpenerAgreesWithTheKeyring(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	o, err := k.NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	rapid.Check(t, func(t *rapid.T) {
		place := seal.Place{Table: rapid.String().Draw(t, "table"), ID: rapid.Uint64().Draw(t, "id")}
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		sealed, err := k.Seal(place, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		want, err := k.Tag(place, sealed)
		if err != nil || o.Tag(place, sealed) != want {
			t.Fatalf("the tags differ, %v", err)
		}
		elsewhere := seal.Place{Table: place.Table, ID: place.ID + 1}
		edited := bytes.Clone(sealed.Bytes())
		edited[rapid.IntRange(0, len(edited)-1).Draw(t, "at")] ^= 1
		for what, open := range map[string]func() ([]byte, error){
			"moved":  func() ([]byte, error) { return o.Open(elsewhere, sealed) },
			"edited": func() ([]byte, error) { return o.Open(place, seal.FromStore(edited)) },
			"cut":    func() ([]byte, error) { return o.Open(place, seal.FromStore(edited[:len(edited)-1])) },
		} {
			if got, err := open(); !errors.Is(err, seal.ErrOpen) || got != nil {
				t.Fatalf("%s: got %d bytes, %v", what, len(got), err)
			}
		}
		if got, err := o.Open(place, sealed); err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("did not come back: %v", err)
		}
		if o.Tag(elsewhere, sealed) == want {
			t.Fatal("the tag does not depend on the place")
		}
	})
}

func TestOpenerWipesWhatItOpened(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	o, err := k.NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	place := seal.Place{Table: "secret", ID: 5}
	var last []byte
	for _, content := range []string{"a longer one", "content"} {
		sealed, err := k.Seal(place, []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		if last, err = o.Open(place, sealed); err != nil {
			t.Fatal(err)
		}
	}
	o.Close()
	if all := last[:len("a longer one")]; !bytes.Equal(all, make([]byte, len(all))) {
		t.Errorf("%q is left", all)
	}
}

func TestNoOpenerFromDestroyedKeys(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	k.Destroy()
	if _, err := k.NewOpener(); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("got %v", err)
	}
}

// TestOpenerKeepsItsMemory: a row costs the two pieces that AES-GCM cannot be had
// without.
func TestOpenerKeepsItsMemory(t *testing.T) {
	k := keyring(t, 7, clusterA, keyA)
	o, err := k.NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	place := seal.Place{Table: "secret", ID: 5}
	sealed, err := k.Seal(place, bytes.Repeat([]byte{1}, row))
	if err != nil {
		t.Fatal(err)
	}
	allocations := testing.AllocsPerRun(100, func() {
		o.Tag(place, sealed)
		if _, err := o.Open(place, sealed); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 2 {
		t.Errorf("%v allocations for a row", allocations)
	}
}
