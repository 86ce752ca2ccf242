package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
)

func TestErrorsCrossTheWire(t *testing.T) {
	for _, err := range []error{
		api.ErrBadRequest, api.ErrUnauthorized, api.ErrNotFound, api.ErrInternal, api.ErrNotReady,
		api.ErrVersionConflict, api.ErrAlreadyInitialized, api.ErrUninitialized, api.ErrNotBehind, api.ErrKeeperHoldsShare,
		api.ErrKeeperUnreachable, api.ErrShardCorrupt, api.ErrShardForeign, api.ErrShardStale, api.ErrStoreMismatch,
		api.ErrShardDuplicate, api.ErrTooManyAttempts, api.ErrNoRootKeyBackend,
	} {
		status, code := api.Wire(fmt.Errorf("deep inside: %w", err))
		if back := api.FromWire(status, code); !errors.Is(back, err) {
			t.Errorf("%v became %d %s became %v", err, status, code, back)
		}
	}
	if status, code := api.Wire(errors.New("disk on fire")); status != 500 || code != "api_internal_error" {
		t.Errorf("an unknown error became %d %s", status, code)
	}
	if err := api.FromWire(http.StatusOK, ""); err != nil {
		t.Errorf("success became %v", err)
	}
	if err := api.FromWire(http.StatusTeapot, "from_the_future"); !errors.Is(err, api.ErrInternal) {
		t.Errorf("an unknown answer became %v", err)
	}
}

func TestValidatePath(t *testing.T) {
	for _, good := range []string{
		"a", "a/b", "A.b_c-d/9", `web/(prod|stage)?+*[x]{1}\`, strings.Repeat("a", 500), "spike/systems", "...", "a/.b",
	} {
		if err := api.ValidatePath(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b", "a b", "a\x00", "ä", "a:b", "a\n",
		strings.Repeat("a", 501), "spike/system", "spike/system/acl", "\xff",
	} {
		if err := api.ValidatePath(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// FuzzValidatePath compares the check with a regular expression and path.Clean.
func FuzzValidatePath(f *testing.F) {
	for _, name := range []string{"a/b", "", "/", "a//b", "a/./b", "..", "a/...", "spike/system", "spike/systems", "spike/system/acl",
		`a.*[b]{2}(c|d)?+\`, "a b", "\u00e9", "a\x00", "\xff", strings.Repeat("a", 500), strings.Repeat("a", 501)} {
		f.Add(name)
	}
	characters := regexp.MustCompile(`^[A-Za-z0-9._/()?+*|\[\]{}\\-]{1,500}$`)
	f.Fuzz(func(t *testing.T, name string) {
		clean := name != "." && name != ".." && !strings.HasPrefix(name, "../") && !strings.HasPrefix(name, "/") && path.Clean(name) == name
		reserved := name == "spike/system" || strings.HasPrefix(name, "spike/system/")
		want := characters.MatchString(name) && clean && !reserved
		if err := api.ValidatePath(name); (err == nil) != want {
			t.Errorf("%q: got %v; allowed is %v", name, err, want)
		}
	})
}

func TestValues(t *testing.T) {
	var v api.Values
	if err := json.Unmarshal([]byte(`{"k":"canary"}`), &v); err != nil || v["k"] != "canary" {
		t.Fatalf("got %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out := fmt.Sprintf(verb, struct{ V api.Values }{v})
		if strings.Contains(out, "canary") || strings.Contains(out, "63616e") {
			t.Errorf("%s shows it: %s", verb, out)
		}
	}
	for _, bad := range []string{`{"k":1}`, `{"k":null}`, `{"k":{}}`, `[]`, `"x"`, `1`} {
		var v api.Values
		err := json.Unmarshal([]byte(bad), &v)
		if err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
