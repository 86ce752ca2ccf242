package vault

import (
	"bytes"
	"testing"

	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shard"
)

// Each record has one encoding: whatever decodes encodes to the same bytes.

func FuzzVersionRecord(f *testing.F) {
	r := versionRecord{path: "a/b", version: 3, flags: flagDeleted, first: 1, created: 2, changed: 4, deleted: 4, values: []byte(`{"k":"v"}`)}
	f.Add(r.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeVersion(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.encode(), b) {
			t.Errorf("%x came back as %x", b, r.encode())
		}
	})
}

func FuzzStateRecord(f *testing.F) {
	r := stateRecord{epoch: 1, sequence: 2, rows: 3}
	f.Add(r.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeState(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.encode(), b) {
			t.Errorf("%x came back as %x", b, r.encode())
		}
	})
}

func FuzzShareRecord(f *testing.F) {
	f.Add(append([]byte{recordFormat, 1, 2}, make([]byte, shard.Size)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeShare(bytes.Clone(b))
		if err != nil {
			return
		}
		defer r.value.Destroy()
		back, err := r.encode()
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("did not come back: %v", err)
		}
	})
}

func FuzzPolicyRecord(f *testing.F) {
	r := policyRecord{permissions: 3, created: 1, updated: 2, texts: [3]string{"name", "^a$", "^b$"}}
	f.Add(r.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodePolicy(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.encode(), b) {
			t.Errorf("%x came back as %x", b, r.encode())
		}
	})
}

func FuzzCipherRecord(f *testing.F) {
	f.Add(append([]byte{recordFormat}, make([]byte, cipherSize-1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeCipher(bytes.Clone(b))
		if err != nil {
			return
		}
		defer r.key.Destroy()
		back, err := r.encode()
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("did not come back: %v", err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	b, err := NewBirth([]string{"https://k1", "https://k2"}, 2, 2)
	if err != nil {
		f.Fatal(err)
	}
	defer b.Destroy()
	raw, err := b.header.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ParseHeader(raw)
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHeader(again); err != nil {
			t.Errorf("a header that was read cannot be read again: %v", err)
		}
	})
}

func TestShareRecordMovesItsValue(t *testing.T) {
	key, err := secret.NewKey(bytes.Repeat([]byte{7}, shard.Size))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Destroy()
	r := shareRecord{set: keeper.SetPaper, index: 4, value: key}
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeShare(b)
	if err != nil || back.set != r.set || back.index != 4 || !back.value.Equal(key) {
		t.Errorf("got %+v, %v", back, err)
	}
	defer back.value.Destroy()
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Error("the buffer was not wiped")
	}
}
