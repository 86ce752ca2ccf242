package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// TestAnswersAreAsJSONIs compares what encodes itself with what encoding/json makes
// of the wire types.
func TestAnswersAreAsJSONIs(t *testing.T) {
	t.Parallel()
	long := make([]string, 1000)
	for i := range long {
		long[i] = fmt.Sprintf("a/b-%04d", i)
	}
	for name, tc := range map[string]struct {
		answer any
		want   any
	}{
		"no keys":         {&listAnswer{keys: []string{}}, api.SecretListResponse{Keys: []string{}}},
		"keys":            {&listAnswer{keys: []string{"a/b", "c"}}, api.SecretListResponse{Keys: []string{"a/b", "c"}}},
		"punctuation":     {&listAnswer{keys: []string{`a\b`, `()?+*|[]{}._-`}}, api.SecretListResponse{Keys: []string{`a\b`, `()?+*|[]{}._-`}}},
		"many keys":       {&listAnswer{keys: long}, api.SecretListResponse{Keys: long}},
		"a failed list":   {&listAnswer{code: "api_not_found"}, api.SecretListResponse{Err: "api_not_found"}},
		"values":          {&secretAnswer{data: secret.NewBytes([]byte(`{"k":"v"}`))}, api.SecretGetResponse{Data: api.Values{"k": "v"}}},
		"a long value":    {&secretAnswer{data: secret.NewBytes([]byte(`{"k":"` + strings.Repeat("v", 9999) + `"}`))}, api.SecretGetResponse{Data: api.Values{"k": strings.Repeat("v", 9999)}}},
		"a failed get":    {&secretAnswer{code: "api_not_found"}, api.SecretGetResponse{Err: "api_not_found"}},
		"something long":  {map[string]string{"k": strings.Repeat("v", 9999)}, map[string]string{"k": strings.Repeat("v", 9999)}},
		"something short": {map[string]int{"k": 1}, map[string]int{"k": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := json.Marshal(tc.want)
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				(&exchange{w: w, r: r}).reply(http.StatusOK, tc.answer)
			}))
			defer s.Close()
			res, err := http.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			got, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
			// Nothing comes in chunks, which cost more than a length.
			if res.ContentLength != int64(len(want)) || len(res.TransferEncoding) > 0 {
				t.Errorf("the length is %d, the encoding %q", res.ContentLength, res.TransferEncoding)
			}
		})
	}
}
