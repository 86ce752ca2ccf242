package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/secret"
)

const canary = "canary-4711-canary-4711-canary--"

func newKey(t *testing.T, s string) secret.Key {
	t.Helper()
	k, err := secret.NewKey([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Destroy)
	return k
}

// shows looks for the canary in every form in which the canary's bytes could show.
func shows(out string) bool {
	hex := fmt.Sprintf("%x", canary)
	decimal := strings.Trim(fmt.Sprint([]byte(canary)), "[]")
	for _, form := range []string{
		canary, hex, strings.ToUpper(hex), decimal,
		strings.ReplaceAll(decimal, " ", ","), fmt.Sprintf("% x", canary), "Y2FuYXJ5LTQ3MTEt",
		strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(canary)), "[]byte"), "{}"),
	} {
		if strings.Contains(out, form) {
			return true
		}
	}
	return false
}

func TestNothingPrintsASecret(t *testing.T) {
	key := newKey(t, canary)
	value := secret.NewBytes([]byte(canary))
	type holder struct {
		K  secret.Key
		P  *secret.Key
		B  secret.Bytes
		PB *secret.Bytes
		M  map[string]secret.Bytes
		i  secret.Key
		ib secret.Bytes
	}
	h := holder{key, &key, value, &value, map[string]secret.Bytes{"a": value}, key, value}
	things := map[string]any{
		"key": key, "key pointer": &key, "bytes": value, "bytes pointer": &value,
		"struct": struct {
			K secret.Key
			B secret.Bytes
		}{key, value},
		"exported fields": h.M, "error": fmt.Errorf("wrapped: %v %w", key, errors.New("x")),
	}
	for name, thing := range things {
		for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
			for _, flag := range []string{"", "+", "#", "-", " ", "0", "40", ".3"} {
				format := "%" + flag + string(verb)
				if out := fmt.Sprintf(format, thing); shows(out) {
					t.Errorf("%s: %s shows the secret: %s", name, format, out)
				}
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "thing", thing)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "thing", thing)
		if shows(log.String()) {
			t.Errorf("%s: a log shows the secret: %s", name, &log)
		}
		if out, err := json.Marshal(thing); err == nil && shows(string(out)) {
			t.Errorf("%s: JSON shows the secret: %s", name, out)
		}
		if out, err := xml.Marshal(thing); err == nil && shows(string(out)) {
			t.Errorf("%s: XML shows the secret: %s", name, out)
		}
		var g bytes.Buffer
		if err := gob.NewEncoder(&g).Encode(thing); err == nil && shows(g.String()) {
			t.Errorf("%s: gob shows the secret", name)
		}
	}
	// fmt does not call the methods of unexported fields, so the content must not
	// be within reach of reflection either.
	if out := fmt.Sprintf("%v %+v %#v %v %v", h.i, h, h.i, struct{ k secret.Key }{key}, struct{ k *secret.Key }{&key}); shows(out) {
		t.Errorf("an unexported key field shows the secret: %s", out)
	}
}

func TestKeyMovesItsSource(t *testing.T) {
	source := []byte(canary)
	k, err := secret.NewKey(source)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Destroy()
	if !bytes.Equal(source, make([]byte, len(canary))) {
		t.Error("the source was not wiped")
	}
	err = k.Expose(func(b []byte) error {
		if string(b) != canary {
			t.Errorf("got %q", b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDestroyedKeyIsGone(t *testing.T) {
	k := newKey(t, canary)
	copyOfHandle := k
	clone, err := k.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer clone.Destroy()
	k.Destroy()
	k.Destroy()
	for name, dead := range map[string]secret.Key{"handle": k, "its copy": copyOfHandle, "zero": {}} {
		if err := dead.Expose(func([]byte) error { return nil }); !errors.Is(err, secret.ErrDestroyed) {
			t.Errorf("%s: got %v", name, err)
		}
		if dead.Present() || dead.Equal(dead) || dead.Equal(clone) {
			t.Errorf("%s: still counts as a key", name)
		}
	}
	if !clone.Present() {
		t.Error("the clone went with its original")
	}
}

func TestEqual(t *testing.T) {
	a, b, c := newKey(t, canary), newKey(t, canary), newKey(t, canary[1:])
	if !a.Equal(b) || !a.Equal(a) || a.Equal(c) {
		t.Error("Equal is wrong")
	}
}

func TestSizes(t *testing.T) {
	for _, n := range []int{0, os.Getpagesize() + 1} {
		if k, err := secret.RandomKey(n); err == nil {
			k.Destroy()
			t.Errorf("%d bytes were accepted", n)
		}
	}
}

// TestPagesAreLockedAndNotDumped asks the kernel: lo is "locked", dd "do not dump".
func TestPagesAreLockedAndNotDumped(t *testing.T) {
	k := newKey(t, canary)
	var address string
	err := k.Expose(func(b []byte) error {
		address = fmt.Sprintf("%x", &b[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	var at uint64
	if _, err := fmt.Sscanf(address, "0x%x", &at); err != nil {
		if _, err := fmt.Sscanf(address, "%x", &at); err != nil {
			t.Fatal(err)
		}
	}
	inside := false
	header := regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) `)
	for line := range strings.Lines(string(smaps)) {
		if m := header.FindStringSubmatch(line); m != nil {
			var low, high uint64
			if _, err := fmt.Sscanf(m[1]+" "+m[2], "%x %x", &low, &high); err != nil {
				t.Fatal(err)
			}
			inside = low <= at && at < high
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			if !strings.Contains(flags, " lo") || !strings.Contains(flags, " dd") {
				t.Errorf("the page's flags are %q", flags)
			}
			return
		}
	}
	t.Error("the key's page was not found")
}
