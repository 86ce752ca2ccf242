package vault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/policy"
)

// manyPaths are 100,000, in order: of a hundred teams, a thousand each.
func manyPaths() []string {
	var paths []string
	for team := range 100 {
		for n := range 1000 {
			paths = append(paths, fmt.Sprintf("team-%02d/secret-%03d", team, n))
		}
	}
	return paths
}

func mayList(t *testing.T, name, id, paths string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Policy{
		Name: name, SPIFFEIDPattern: "^" + id + "$", PathPattern: paths, Permissions: policy.List,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPageLooksAtWhatItReturns: a page of a list costs what it returns, however many
// paths there are, and wherever in them it is.
func TestPageLooksAtWhatItReturns(t *testing.T) {
	all := manyPaths()
	const one, some = "spiffe://spike.ist/one", "spiffe://spike.ist/some"
	store := vault.NewPaths(all,
		mayList(t, "one team", one, "^team-42/.*$"),
		mayList(t, "some teams a", some, "^team-07/.*$"), mayList(t, "some teams b", some, "^team-7.*/secret-.*$"),
		mayList(t, "some teams c", some, "^team-99/secret-999$"))
	for _, c := range []struct {
		id, prefix, after string
		limit             int
		first             string // "" when there is none
		want              int
		apart             int // how many parts of the store it may be in
	}{
		{"", "", "", 100, "team-00/secret-000", 100, 1},
		{"", "", "team-50/secret-500", 100, "team-50/secret-501", 100, 1},
		{"", "", "team-50/secret-500-was-here", 100, "team-50/secret-501", 100, 1},
		{"", "", "team-99/secret-950", 100, "team-99/secret-951", 49, 1},
		{"", "team-33/", "", 100, "team-33/secret-000", 100, 1},
		{"", "team-33/", "team-33/secret-990", 100, "team-33/secret-991", 9, 1},
		{"", "team-33/", "team-34", 100, "", 0, 1},
		{"", "nothing/", "", 100, "", 0, 1},
		{"", "", "zzz", 100, "", 0, 1},
		{"", "", "", 1, "team-00/secret-000", 1, 1},
		{"", "", "", 0, "team-00/secret-000", len(all), 1},
		{one, "", "", 100, "team-42/secret-000", 100, 1},
		{one, "", "team-42/secret-900", 100, "team-42/secret-901", 99, 1},
		{one, "team-4", "team-42/secret-900", 10, "team-42/secret-901", 10, 1},
		{one, "team-43", "", 100, "", 0, 1},
		{some, "", "", 1500, "team-07/secret-000", 1500, 3},
		{some, "", "team-79/secret-990", 100, "team-79/secret-991", 10, 3},
		{some, "team-7", "team-70/secret-998", 100, "team-70/secret-999", 100, 3},
	} {
		req := &api.SecretListRequest{Prefix: c.prefix, After: c.after, Limit: c.limit}
		began := time.Now()
		keys, looked, err := store.List(t.Context(), c.id, req)
		took := time.Since(began)
		if err != nil || len(keys) != c.want || c.want > 0 && keys[0] != c.first {
			t.Errorf("%+v: %d paths, %v", c, len(keys), err)
		}
		// More than it returns are the one that the page comes after, and in each part
		// the one that shows that the part ends there.
		if looked > c.want+c.apart+1 || c.limit > 0 && looked > c.limit+c.apart {
			t.Errorf("%+v: it looked at %d paths for %d", c, looked, len(keys))
		}
		t.Logf("%q %+v: %d paths, %d looked at, %s", c.id, *req, len(keys), looked, took)
	}
}

// TestPageWithoutALiteral: a pattern that begins with no literal says nothing of where
// its paths are, so that a page can take a look at all of them: but never at more than
// it needs, nor for longer than somebody waits for it.
func TestPageWithoutALiteral(t *testing.T) {
	all := manyPaths()
	const id = "spiffe://spike.ist/any"
	for _, c := range []struct {
		pattern, after string
		limit          int
		want, looked   int
	}{
		{"^.*/secret-000$", "", 10, 10, 9*1000 + 1},
		{"^.*/secret-000$", "team-10/secret-000", 10, 10, 10*1000 + 1},
		{"^.*/secret-000$", "", 1000, 100, len(all)},
		{"^.*/nothing-such$", "", 10, 0, len(all)},
		{"^[a-z]*-99/.*$", "", 10, 10, 99*1000 + 10},
		{"^.*$", "", 10, 10, 10},
	} {
		store := vault.NewPaths(all, mayList(t, "p", id, c.pattern))
		began := time.Now()
		keys, looked, err := store.List(t.Context(), id, &api.SecretListRequest{After: c.after, Limit: c.limit})
		if err != nil || len(keys) != c.want || looked != c.looked {
			t.Errorf("%+v: %d paths, %d looked at, %v", c, len(keys), looked, err)
		}
		t.Logf("%+v took %s", c, time.Since(began))
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store := vault.NewPaths(all, mayList(t, "p", id, "^.*/nothing-such$"))
	if _, looked, err := store.List(ctx, id, &api.SecretListRequest{Limit: 10}); !errors.Is(err, context.Canceled) || looked > 1024 {
		t.Errorf("for nobody it looked at %d paths, and says %v", looked, err)
	}
}
