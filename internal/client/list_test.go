package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/identitytest"
)

// store answers lists of these paths, which are sorted, and counts the calls.
func store(t *testing.T, paths []string, calls *atomic.Int32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var req api.SecretListRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		res := api.SecretListResponse{Keys: []string{}}
		for _, path := range paths {
			if path > req.After && strings.HasPrefix(path, req.Prefix) && (req.Limit == 0 || len(res.Keys) < req.Limit) {
				res.Keys = append(res.Keys, path)
			}
		}
		if err := json.NewEncoder(w).Encode(res); err != nil {
			t.Error(err)
		}
	}
}

func TestPathsPageByPage(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	var all []string
	for i := range 2500 {
		all = append(all, fmt.Sprintf("a/%04d", i))
	}
	all = append(all, "b")
	var calls atomic.Int32
	c := dial(t, domain.Source("/alice"), nexus(t, domain.Source("/spike/nexus"), store(t, all, &calls)), 0)
	for name, test := range map[string]struct {
		list  api.SecretListRequest
		want  []string
		calls int32
	}{
		"all":               {api.SecretListRequest{}, all, 3},
		"a prefix":          {api.SecretListRequest{Prefix: "b"}, all[2500:], 1},
		"nothing":           {api.SecretListRequest{Prefix: "c"}, nil, 1},
		"after":             {api.SecretListRequest{After: all[1999]}, all[2000:], 1},
		"a few":             {api.SecretListRequest{Limit: 3}, all[:3], 1},
		"more than a page":  {api.SecretListRequest{Limit: 1500, After: all[0]}, all[1:1501], 2},
		"exactly two pages": {api.SecretListRequest{Limit: 2000}, all[:2000], 2},
		"no more than all":  {api.SecretListRequest{Limit: 9000}, all, 3},
	} {
		t.Run(name, func(t *testing.T) {
			calls.Store(0)
			var got []string
			for path, err := range c.SecretPaths(t.Context(), test.list) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, path)
			}
			if !slices.Equal(got, test.want) || calls.Load() != test.calls {
				t.Errorf("%d paths in %d calls, want %d in %d", len(got), calls.Load(), len(test.want), test.calls)
			}
		})
	}
	calls.Store(0)
	for range c.SecretPaths(t.Context(), api.SecretListRequest{}) {
		break
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls for the first path", calls.Load())
	}
}

// TestPagesThatWereNotAskedFor has servers that would otherwise be asked for
// ever, or whose answer would be taken for another.
func TestPagesThatWereNotAskedFor(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	for name, keys := range map[string]string{
		"too many": `["a/c","a/d","a/e"]`, "not after": `["a/b"]`, "before": `["a/a"]`, "no prefix": `["b/c"]`,
		"not sorted": `["a/d","a/c"]`, "twice": `["a/c","a/c"]`,
	} {
		to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"keys":`+keys+`}`)
		})
		list, seen := api.SecretListRequest{Prefix: "a/", After: "a/b", Limit: 2}, 0
		for path, err := range dial(t, domain.Source("/alice"), to, 0).SecretPaths(t.Context(), list) {
			if seen++; !errors.Is(err, client.ErrProtocol) || seen > 1 {
				t.Errorf("%s: got %q, %v", name, path, err)
			}
		}
	}
}

// TestMetadata checks that what comes back is what was sent, and that a secret
// without a version, which there cannot be, is not taken for one.
func TestMetadata(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	for body, want := range map[string]error{
		`{"versions":{"2":{"createdTime":"2026-01-02T03:04:05Z","version":2,"deletedTime":null}},"metadata":{"currentVersion":2}}`: nil,
		`{"metadata":{"currentVersion":2}}`:   client.ErrProtocol,
		`{"versions":{"x":{}},"metadata":{}}`: client.ErrProtocol,
	} {
		c := dial(t, domain.Source("/alice"), nexus(t, domain.Source("/spike/nexus"), answer(http.StatusOK, body)), 0)
		res, err := c.SecretMetadata(t.Context(), "a/b", 0)
		if !errors.Is(err, want) || want == nil && (res.Versions[2].Version != 2 || res.Metadata.CurrentVersion != 2) {
			t.Errorf("%s: got %+v, %v", body, res, err)
		}
	}
}
