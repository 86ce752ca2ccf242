package api_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/spiffe/spike/internal/api"
)

// usual is a request that has a usual form.
type usual interface{ DecodeUsual([]byte) bool }

// same checks that what is taken for the usual form is what encoding/json makes of
// it, and that nothing else leaves a trace.
func same(t *testing.T, body string, fresh func() usual) (taken bool) {
	t.Helper()
	got, want := fresh(), fresh()
	if !got.DecodeUsual([]byte(body)) {
		if !reflect.DeepEqual(got, fresh()) {
			t.Errorf("%q was not taken, and left %#v", body, got)
		}
		return false
	}
	if err := json.Unmarshal([]byte(body), want); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q is not as JSON has it: %v", body, err)
	}
	return true
}

func get() usual { return &api.SecretGetRequest{} }
func put() usual { return &api.SecretPutRequest{} }

func TestUsualForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		body     string
		get, put bool
	}{
		{body: `{"path":"a/b","version":0}`, get: true},
		{body: `{"path":"","version":123456789}`, get: true},
		{body: `{"path":"a","version":1234567890}`},
		{body: `{"path":"a","version":01}`},
		{body: `{"path":"a","version":-1}`},
		{body: `{"path":"a","version":}`},
		{body: `{"path":"a","version":1.5}`},
		{body: `{"path":"a","version":1}}`},
		{body: `{"path":"a","version":1} `},
		{body: `{"path":"a"}`},
		{body: `{"path":"\u0061","version":0}`},
		{body: `{"path":"ü","version":0}`},
		{body: "{\"path\":\"a\nb\",\"version\":0}"},
		{body: `{"path": "a","version":0}`},
		{body: `{"path":null,"version":0}`},
		{body: `{"version":0,"path":"a"}`},
		{body: `{"path":"a","values":{"k":"v"}}`, put: true},
		{body: `{"path":"a","values":{"k":"v","k":"w","":"<&>"}}`, put: true},
		{body: `{"path":"a","values":{}}`},
		{body: `{"path":"a","values":{"k":"v",}}`},
		{body: `{"path":"a","values":{"k":null}}`},
		{body: `{"path":"a","values":{"k":"v"}`},
		{body: `{"path":"a","values":{"k":"v"},"cas":0}`},
		{body: `{"path":"a","values":{"k":"\t"}}`},
		{body: `{"path":"a","values":{"k" "v"}}`},
		{body: ``}, {body: `{`}, {body: `{"path":`}, {body: `{"path":"`}, {body: `{"path":"a"`},
	} {
		if got := same(t, tc.body, get); got != tc.get {
			t.Errorf("as a get, %q was taken: %v", tc.body, got)
		}
		if got := same(t, tc.body, put); got != tc.put {
			t.Errorf("as a put, %q was taken: %v", tc.body, got)
		}
	}
	// What Go's clients send is in the usual form.
	for _, request := range []any{
		&api.SecretGetRequest{Path: "web/db", Version: 3},
		&api.SecretPutRequest{Path: "web/db", Values: api.Values{"user": "app", "password": "correct horse"}},
	} {
		body, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		if !same(t, string(body), get) && !same(t, string(body), put) {
			t.Errorf("%s is not in the usual form", body)
		}
	}
}

func FuzzUsualForms(f *testing.F) {
	f.Add(`{"path":"a/b","version":12}`)
	f.Add(`{"path":"a","values":{"k":"v","l":"w"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		same(t, body, get)
		same(t, body, put)
	})
}
