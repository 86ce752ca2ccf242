package vault_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// oracle says, as plainly as possible, what a store of secrets does.
type oracle struct {
	keep    int
	secrets map[string]*oracleSecret
}

type oracleSecret struct {
	current  int
	versions map[int]*oracleVersion
}

type oracleVersion struct {
	value              string
	deleted, destroyed bool
}

func (o *oracle) put(path, value string) int {
	s := o.secrets[path]
	if s == nil {
		s = &oracleSecret{versions: map[int]*oracleVersion{}}
		o.secrets[path] = s
	}
	s.current++
	s.versions[s.current] = &oracleVersion{value: value}
	for n, v := range s.versions {
		if v.destroyed {
			delete(s.versions, n)
		}
	}
	for len(s.versions) > o.keep {
		delete(s.versions, slices.Min(slices.Collect(maps.Keys(s.versions))))
	}
	return s.current
}

// each calls f for the versions named that are there.
func (o *oracle) each(path string, numbers []int, f func(s *oracleSecret, n int, v *oracleVersion)) error {
	s := o.secrets[path]
	if s == nil {
		return api.ErrNotFound
	}
	if len(numbers) == 0 {
		numbers = []int{0}
	}
	for _, n := range numbers {
		if n == 0 {
			n = s.current
		}
		if v := s.versions[n]; v != nil {
			f(s, n, v)
		}
	}
	return nil
}

func (o *oracle) get(path string, n int) (string, error) {
	value, err := "", api.ErrNotFound
	_ = o.each(path, []int{n}, func(_ *oracleSecret, _ int, v *oracleVersion) {
		if !v.deleted && !v.destroyed {
			value, err = v.value, nil
		}
	})
	return value, err
}

func (o *oracle) list(prefix, after string, limit int) []string {
	keys := []string{}
	for _, path := range slices.Sorted(maps.Keys(o.secrets)) {
		if strings.HasPrefix(path, prefix) && path > after && (limit == 0 || len(keys) < limit) {
			keys = append(keys, path)
		}
	}
	return keys
}

// TestAgainstOracle does random operations, restarting now and then, and
// compares every answer with the oracle's.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		defer f.close()
		o := &oracle{keep: 3, secrets: map[string]*oracleSecret{}}
		path := rapid.SampledFrom([]string{"a", "a/b", "a/c", "a.b", "b", "z/y/x"})
		numbers := rapid.SliceOfN(rapid.IntRange(-1, 9), 0, 3)
		same := func(what string, got, want error) {
			if !errors.Is(got, want) {
				rt.Fatalf("%s: got %v, want %v", what, got, want)
			}
		}
		change := func(name string, do func(*api.SecretVersionsRequest) error, apply func(*oracleSecret, int, *oracleVersion)) func(*rapid.T) {
			return func(rt *rapid.T) {
				req := &api.SecretVersionsRequest{Path: path.Draw(rt, "path"), Versions: numbers.Draw(rt, "versions")}
				if name == "destroy" && len(req.Versions) == 0 {
					same(name, do(req), api.ErrBadRequest)
					return
				}
				same(name, do(req), o.each(req.Path, req.Versions, apply))
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				p, v := path.Draw(rt, "path"), rapid.StringMatching(`[a-z0-9]{0,8}`).Draw(rt, "value")
				if got, want := f.put(p, v), o.put(p, v); got != want {
					rt.Fatalf("put %s: version %d, want %d", p, got, want)
				}
			},
			"delete": change("delete", func(req *api.SecretVersionsRequest) error {
				return f.vault.DeleteSecret(t.Context(), admin, req)
			}, func(_ *oracleSecret, _ int, v *oracleVersion) { v.deleted = true }),
			"undelete": change("undelete", func(req *api.SecretVersionsRequest) error {
				return f.vault.UndeleteSecret(t.Context(), admin, req)
			}, func(_ *oracleSecret, _ int, v *oracleVersion) { v.deleted = v.destroyed }),
			"destroy": change("destroy", func(req *api.SecretVersionsRequest) error {
				return f.vault.DestroySecret(t.Context(), admin, req)
			}, func(s *oracleSecret, n int, v *oracleVersion) {
				v.deleted, v.destroyed, v.value = true, true, ""
				if n != s.current {
					delete(s.versions, n)
				}
			}),
			"restart": func(*rapid.T) {
				f.restart()
				f.unlock()
			},
			"list": func(rt *rapid.T) {
				ends := rapid.SampledFrom([]string{"", "a", "a/", "a/b", "b", "zz", "-"})
				req := &api.SecretListRequest{Prefix: ends.Draw(rt, "prefix"), After: ends.Draw(rt, "after"), Limit: rapid.IntRange(0, 3).Draw(rt, "limit")}
				got, err := f.vault.ListSecrets(t.Context(), admin, req)
				if want := o.list(req.Prefix, req.After, req.Limit); err != nil || !slices.Equal(got, want) {
					rt.Fatalf("list %+v: got %v, %v; want %v", req, got, err, want)
				}
			},
			"": func(rt *rapid.T) { checkAgainst(rt, f, o, same) },
		})
	})
}

func checkAgainst(rt *rapid.T, f *fixture, o *oracle, same func(string, error, error)) {
	rows := 6 // shares
	for _, p := range []string{"a", "a/b", "a/c", "a.b", "b", "z/y/x", "never"} {
		for n := range 10 {
			got, err := f.get(p, n)
			want, wantErr := o.get(p, n)
			same(fmt.Sprint("get ", p, " ", n), err, wantErr)
			if err == nil && got != `{"k":"`+want+`"}` {
				rt.Fatalf("get %s %d: got %s, want %s", p, n, got, want)
			}
		}
		m, err := f.vault.GetMetadata(f.t.Context(), admin, &api.SecretGetRequest{Path: p})
		s := o.secrets[p]
		if s == nil {
			same("metadata", err, api.ErrNotFound)
			continue
		}
		rows += len(s.versions)
		if err != nil || m.Metadata.CurrentVersion != s.current || len(m.Versions) != len(s.versions) || m.Metadata.MaxVersions != 3 ||
			m.Metadata.OldestVersion != slices.Min(slices.Collect(maps.Keys(s.versions))) {
			rt.Fatalf("metadata %s: got %+v, %v; want %+v", p, m, err, s)
		}
		for n, v := range s.versions {
			if got := m.Versions[n]; got.Version != n || (got.DeletedTime != nil) != v.deleted || got.Destroyed != v.destroyed {
				rt.Fatalf("metadata %s: version %d is %+v", p, n, got)
			}
		}
	}
	if got := len(f.disk.read(f.t).rows); got != rows {
		rt.Fatalf("the store has %d rows, want %d", got, rows)
	}
}

func TestMetadataTimes(t *testing.T) {
	f := newFixture(t)
	f.put("p", "1")
	get := func(version int) (api.SecretMetadataResponse, error) {
		return f.vault.GetMetadata(t.Context(), admin, &api.SecretGetRequest{Path: "p", Version: version})
	}
	first, err := get(0)
	if err != nil || !first.Metadata.CreatedTime.Equal(first.Metadata.UpdatedTime) {
		t.Fatalf("got %+v, %v", first, err)
	}
	for range 4 {
		f.put("p", "2")
	}
	if err := f.vault.DeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: "p"}); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.unlock()
	later, err := get(0)
	if err != nil {
		t.Fatal(err)
	}
	// The first version is gone; when it was written is not.
	if !later.Metadata.CreatedTime.Equal(first.Metadata.CreatedTime) ||
		!later.Metadata.UpdatedTime.Equal(*later.Versions[5].DeletedTime) {
		t.Errorf("got %+v, first %+v", later, first)
	}
	// Asked for by number, a deleted version is not there.
	if _, err := get(5); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := get(4); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestDestroyedValuesLeaveTheStore: their rows are gone or rewritten without them.
func TestDestroyedValuesLeaveTheStore(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", 5000)
	f.put("p", long)
	f.put("p", long)
	if err := f.vault.DestroySecret(t.Context(), admin, &api.SecretVersionsRequest{Path: "p", Versions: []int{1, 2}}); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.disk.read(t).rows {
		if len(r.Sealed.Bytes()) > 1000 {
			t.Errorf("%s row %d still has %d bytes", r.Table, r.ID, len(r.Sealed.Bytes()))
		}
	}
	if version := f.put("p", "v"); version != 3 {
		t.Errorf("a destroyed version's number was used again: %d", version)
	}
}

// TestAuditSaysWhichVersions: also when the request left it to the store.
func TestAuditSaysWhichVersions(t *testing.T) {
	f := newFixture(t)
	f.put("p", "1")
	f.put("p", "2")
	named := func(change func(context.Context, vault.Caller, *api.SecretVersionsRequest) error, versions ...int) func() error {
		return func() error {
			return change(t.Context(), admin, &api.SecretVersionsRequest{Path: "p", Versions: versions})
		}
	}
	read := func(version int) func() error {
		return func() error {
			_, err := f.get("p", version)
			return err
		}
	}
	f.trail.take()
	for _, c := range []struct {
		do      func() error
		version int
		several []int
	}{
		{do: read(0), version: 2},
		{do: read(1), version: 1},
		{do: named(f.vault.DeleteSecret), version: 2},
		{do: named(f.vault.UndeleteSecret, 0), version: 2},
		{do: named(f.vault.DeleteSecret, 1), version: 1},
		{do: named(f.vault.DestroySecret, 1, 0, 7), several: []int{1, 2, 7}},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		line := f.trail.take()[0]
		if line.Version != c.version || !slices.Equal(line.Versions, c.several) {
			t.Errorf("%s: version %d, versions %v; want %d, %v", line.Operation, line.Version, line.Versions, c.version, c.several)
		}
	}
}
