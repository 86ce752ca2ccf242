package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func TestCipher(t *testing.T) {
	f := newFixture(t)
	encrypt := func(c vault.Caller, text string) vault.Encrypted {
		t.Helper()
		out, err := f.vault.Encrypt(t.Context(), c, []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	lite := vault.Caller{ID: "spiffe://spike.ist/spike/workload/role/lite", Role: role.Lite}
	web := workload("/web")
	f.policy("exec", `^spiffe://spike\.ist/web$`, `^spike/system/cipher/exec$`, "execute")
	var made []vault.Encrypted
	for _, c := range []vault.Caller{admin, lite, web} {
		made = append(made, encrypt(c, "hello"))
	}
	for range 2 {
		for _, in := range made {
			for _, c := range []vault.Caller{admin, lite, web} {
				if out, err := f.vault.Decrypt(t.Context(), c, in, nil); err != nil || string(out) != "hello" {
					t.Errorf("%s: got %q, %v", c.Role, out, err)
				}
			}
		}
		f.restart()
		f.unlock()
	}
	for _, c := range []vault.Caller{workload("/other"), {Role: role.Nexus}, {Role: role.Recover}, {Role: role.None}} {
		if _, err := f.vault.Encrypt(t.Context(), c, nil, nil); !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("%s may encrypt: %v", c.Role, err)
		}
		if _, err := f.vault.Decrypt(t.Context(), c, made[0], nil); !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("%s may decrypt: %v", c.Role, err)
		}
	}
	spoiled := made[0]
	spoiled.Ciphertext = bytes.Clone(spoiled.Ciphertext)
	spoiled.Ciphertext[0] ^= 1
	for name, in := range map[string]vault.Encrypted{
		"spoiled": spoiled, "nothing": {}, "short nonce": {Nonce: made[0].Nonce[1:], Ciphertext: made[0].Ciphertext},
		"only a nonce": {Nonce: made[0].Nonce},
	} {
		if _, err := f.vault.Decrypt(t.Context(), admin, in, nil); !errors.Is(err, api.ErrBadRequest) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := f.vault.Encrypt(t.Context(), workload("/other"), nil, errors.New("too long")); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("unauthorized comes before what is wrong with the request: %v", err)
	}
}

// TestCipherKeysAreReplaced runs reservations out, and the key with them: what
// older keys encrypted stays readable.
func TestCipherKeysAreReplaced(t *testing.T) {
	f := newFixture(t)
	var made []vault.Encrypted
	for i := range 6 {
		out, err := f.vault.Encrypt(t.Context(), admin, []byte(fmt.Sprint(i)), nil)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, out)
		if i%2 == 0 {
			f.vault.WearOutCipherKey(i%4 == 0)
		} else {
			f.restart()
			f.unlock()
		}
	}
	for i, in := range made {
		if out, err := f.vault.Decrypt(t.Context(), admin, in, nil); err != nil || string(out) != fmt.Sprint(i) {
			t.Errorf("message %d: got %q, %v", i, out, err)
		}
	}
	if n := f.vault.CipherKeys(); n != 3 {
		t.Errorf("there are %d keys, want 3", n)
	}
}

// TestARestartGivesUpItsReservation: how much of it was used is not known.
func TestARestartGivesUpItsReservation(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		before := f.disk.count()
		for range 2 {
			if _, err := f.vault.Encrypt(t.Context(), admin, []byte("x"), nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.disk.count() - before; n != 1 {
			t.Errorf("%d reservations, want 1", n)
		}
		f.restart()
		f.unlock()
	}
}

// TestManyEncryptAtOnce: one reservation serves all who find none.
func TestManyEncryptAtOnce(t *testing.T) {
	f := newFixture(t)
	before := f.disk.count()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := f.vault.Encrypt(t.Context(), admin, []byte("x"), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.disk.count() - before; n != 1 || f.vault.CipherKeys() != 1 {
		t.Errorf("%d commits and %d keys", n, f.vault.CipherKeys())
	}
}

// TestRefusedKeysAreWiped: a full disk refuses the first key again and again, and
// uses up no locked memory.
func TestRefusedKeysAreWiped(t *testing.T) {
	f := newFixture(t)
	f.disk.hook(func(vault.Batch) error { return vault.ErrFull })
	before := locked(t)
	for range 50 {
		if _, err := f.vault.Encrypt(t.Context(), admin, []byte("x"), nil); !errors.Is(err, vault.ErrFull) {
			t.Fatal(err)
		}
	}
	if after := locked(t); after > before {
		t.Errorf("%d kB were locked, and %d are now", before, after)
	}
}

func locked(t *testing.T) (kB int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmLck:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}
