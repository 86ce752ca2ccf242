package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (f *fixture) policy(name, id, path string, permissions ...string) {
	f.t.Helper()
	if err := f.putPolicyAs(admin, name, id, path, permissions...); err != nil {
		f.t.Fatalf("policy %s: %v", name, err)
	}
}

func (f *fixture) putPolicyAs(c vault.Caller, name, id, path string, permissions ...string) error {
	return f.vault.PutPolicy(f.t.Context(), c, &api.PolicyPutRequest{Name: name, SPIFFEIDPattern: id, PathPattern: path, Permissions: permissions})
}

func (f *fixture) unpolicy(name string) error {
	return f.vault.DeletePolicy(f.t.Context(), admin, &api.PolicyRequest{ID: name})
}

func (f *fixture) read(c vault.Caller, path string) error {
	_, err := f.vault.GetSecret(f.t.Context(), c, &api.SecretGetRequest{Path: path})
	return err
}

func workload(path string) vault.Caller {
	return vault.Caller{ID: "spiffe://spike.ist" + path, Role: role.Workload, Request: "r"}
}

func TestWorkloadUnderPolicies(t *testing.T) {
	f := newFixture(t)
	f.put("web/db", "v")
	f.put("other", "v")
	web := workload("/web")
	want := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	want("no policy", f.read(web, "web/db"), api.ErrUnauthorized)
	f.policy("web-read", `^spiffe://spike\.ist/web$`, `^web/.*$`, "read")
	f.trail.take()
	want("read", f.read(web, "web/db"), nil)
	if lines := f.trail.take(); lines[0].By != "policy web-read" {
		t.Errorf("audited as %+v", lines)
	}
	want("read of nothing", f.read(web, "web/none"), api.ErrNotFound)
	want("read elsewhere", f.read(web, "other"), api.ErrUnauthorized)
	want("read by another", f.read(workload("/webx"), "web/db"), api.ErrUnauthorized)
	_, err := f.vault.PutSecret(t.Context(), web, put("web/db", "x"))
	want("write with read", err, api.ErrUnauthorized)
	f.policy("web-write", `^spiffe://spike\.ist/web$`, `^web/.*$`, "write")
	_, err = f.vault.PutSecret(t.Context(), web, put("web/db", "x"))
	want("write", err, nil)

	// Roles are not workloads: no policy reaches them.
	f.policy("all", `^.*$`, `^.*$`, "super")
	for _, r := range []role.Role{role.None, role.Nexus, role.Keeper, role.Recover, role.Restore, role.Lite} {
		c := vault.Caller{ID: "spiffe://spike.ist" + r.Path(), Role: r}
		want(r.String(), f.read(c, "web/db"), api.ErrUnauthorized)
	}
	want("super", f.read(workload("/x"), "other"), nil)
	want("a path that nothing can have", f.read(workload("/x"), strings.Repeat("x", 501)), api.ErrUnauthorized)
	if _, err := f.vault.Begin(t.Context(), web, vault.OpOperatorStatus); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("super is no operator: %v", err)
	}
	want("delete", f.unpolicy("all"), nil)
	want("delete again", f.unpolicy("all"), api.ErrNotFound)
	want("after the delete", f.read(workload("/x"), "other"), api.ErrUnauthorized)

	f.restart()
	f.unlock()
	want("after a restart", f.read(web, "web/db"), nil)
	want("after a restart, elsewhere", f.read(web, "other"), api.ErrUnauthorized)
	want("deleted before the restart", f.read(workload("/x"), "other"), api.ErrUnauthorized)
}

func TestPolicyReplacedAndListed(t *testing.T) {
	f := newFixture(t)
	f.policy("b", `^x$`, `^y$`, "read", "write")
	f.policy("a", `^x$`, `^z$`, "list")
	get := func(name string) string {
		p, err := f.vault.GetPolicy(t.Context(), admin, &api.PolicyRequest{ID: name})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s %s %s %v %v", p.Name, p.SPIFFEIDPattern, p.PathPattern, p.Permissions.Names(), p.Updated.After(p.Created))
	}
	f.policy("b", `^x$`, `^z$`, "super")
	for range 2 {
		if got := get("b"); got != "b ^x$ ^z$ [super] true" {
			t.Errorf("got %s", got)
		}
		for filter, want := range map[api.PolicyListRequest][]string{
			{}: {"a", "b"}, {PathPattern: `^z$`}: {"a", "b"}, {SPIFFEIDPattern: `^x$`, PathPattern: `^y$`}: nil, {PathPattern: "z"}: nil,
		} {
			list, err := f.vault.ListPolicies(t.Context(), admin, &filter)
			var names []string
			for _, p := range list {
				names = append(names, p.Name)
			}
			if err != nil || !slices.Equal(names, want) {
				t.Errorf("%+v: got %v, %v", filter, names, err)
			}
		}
		f.restart()
		f.unlock()
	}
	if rows := len(f.disk.read(t).rows); rows != 6+2 {
		t.Errorf("the store has %d rows", rows)
	}
	for _, bad := range []api.PolicyPutRequest{
		{Name: "", SPIFFEIDPattern: `^x$`, PathPattern: `^y$`, Permissions: []string{"read"}},
		{Name: "p", SPIFFEIDPattern: `x`, PathPattern: `^y$`, Permissions: []string{"read"}},
		{Name: "p", SPIFFEIDPattern: `^x$`, PathPattern: `^y`, Permissions: []string{"read"}},
		{Name: "p", SPIFFEIDPattern: `^x$`, PathPattern: `^y$`},
		{Name: "p", SPIFFEIDPattern: `^x$`, PathPattern: `^y$`, Permissions: []string{"root"}},
	} {
		if err := f.vault.PutPolicy(t.Context(), admin, &bad); !errors.Is(err, api.ErrBadRequest) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}

// TestNobodyWidensItsOwnRights: with the right to write policies comes no right
// to write one for oneself, and a catch-all is no such right.
func TestNobodyWidensItsOwnRights(t *testing.T) {
	f := newFixture(t)
	f.put("web/db", "v")
	web := workload("/web")
	f.policy("wide", `^.*$`, `^.*$`, "read", "write", "list", "execute")
	if err := f.putPolicyAs(web, "mine", `^.*$`, `^.*$`, "super"); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("a catch-all let it write a policy: %v", err)
	}
	if _, err := f.vault.ListPolicies(t.Context(), web, &api.PolicyListRequest{}); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("a catch-all let it list policies: %v", err)
	}
	if _, err := f.vault.Encrypt(t.Context(), web, []byte("x"), nil); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("a catch-all let it encrypt: %v", err)
	}
	f.policy("acl", `^spiffe://spike\.ist/web$`, `^spike/system/acl$`, "write")
	if err := f.putPolicyAs(web, "other", `^spiffe://spike\.ist/app$`, `^app/.*$`, "read"); err != nil {
		t.Errorf("for another: %v", err)
	}
	f.trail.take()
	for _, id := range []string{`^.*$`, `^spiffe://spike\.ist/web$`, `^spiffe://spike\.ist/w[a-z]+$`} {
		if err := f.putPolicyAs(web, "mine", id, `^.*$`, "super"); !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("%s: got %v", id, err)
		}
		if err := f.putPolicyAs(web, "acl", id, `^spike/system/.*$`, "super"); !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("replacing its own, %s: got %v", id, err)
		}
	}
	for _, line := range f.trail.take() {
		if line.Allowed || line.By != "" {
			t.Errorf("an attempt is audited as %+v", line)
		}
	}
}

func TestFilteredList(t *testing.T) {
	f := newFixture(t)
	for _, p := range []string{"a", "web/a", "web/b", "web/c", "z"} {
		f.put(p, "v")
	}
	list := func(c vault.Caller, req api.SecretListRequest) string {
		keys, err := f.vault.ListSecrets(t.Context(), c, &req)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(keys)
	}
	web := workload("/web")
	f.policy("reads", `^.*$`, `^.*$`, "read")
	f.policy("reserved", `^.*$`, `^spike/system/acl$`, "list")
	if got := list(web, api.SecretListRequest{}); got != "not allowed" {
		t.Errorf("without list: %s", got)
	}
	f.policy("some", `^spiffe://spike\.ist/web$`, `^web/[ac]$`, "list")
	f.policy("more", `^spiffe://spike\.ist/web$`, `^z$`, "super")
	for req, want := range map[api.SecretListRequest]string{
		{}: "[web/a web/c z]", {Limit: 2}: "[web/a web/c]", {After: "web/a"}: "[web/c z]", {Prefix: "web/"}: "[web/a web/c]", {Prefix: "a"}: "[]",
	} {
		if got := list(web, req); got != want {
			t.Errorf("%+v: got %s, want %s", req, got, want)
		}
	}
	// A hint about where to look must never hide what may be seen.
	f.policy("no prefix", `^spiffe://spike\.ist/any$`, `^(a|web/.*|z)$`, "list")
	f.policy("prefix", `^spiffe://spike\.ist/any$`, `^web/.*$`, "list")
	if got := list(workload("/any"), api.SecretListRequest{}); got != "[a web/a web/b web/c z]" {
		t.Errorf("got %s", got)
	}
	if got := list(workload("/any"), api.SecretListRequest{Prefix: "web/b"}); got != "[web/b]" {
		t.Errorf("got %s", got)
	}
	f.policy("all", `^spiffe://spike\.ist/lister$`, `^spike/system/secret$`, "list")
	if got := list(workload("/lister"), api.SecretListRequest{}); got != "[a web/a web/b web/c z]" {
		t.Errorf("the lister got %s", got)
	}
}

// TestNoReadUnderAnOldPolicy revokes a right and then writes a new value: whoever
// reads meanwhile may see the old value, and never the new one.
func TestNoReadUnderAnOldPolicy(t *testing.T) {
	f := newFixture(t)
	web := workload("/web")
	for i := range 50 {
		f.policy("p", `^spiffe://spike\.ist/web$`, `^p$`, "read")
		f.put("p", fmt.Sprint("public", i))
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					values, err := f.vault.GetSecret(t.Context(), web, &api.SecretGetRequest{Path: "p"})
					if err == nil && string(values.Expose()) == `{"k":"private"}` {
						t.Error("a value was read that the policies in force do not allow")
						return
					}
				}
			})
		}
		if err := f.unpolicy("p"); err != nil {
			t.Fatal(err)
		}
		if err := f.read(web, "p"); !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("after the answer: %v", err)
		}
		f.put("p", "private")
		close(stop)
		wg.Wait()
	}
}

// TestRightsAreLostWhileAWriteWaits: what was allowed when a write came is
// decided again when it is its turn.
func TestRightsAreLostWhileAWriteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		web := workload("/web")
		f.policy("p", `^spiffe://spike\.ist/web$`, `^p$`, "write")
		begun, release := f.held()
		gone, written := make(chan error, 1), make(chan error, 1)
		go func() { gone <- f.unpolicy("p") }()
		<-begun
		go func() {
			_, err := f.vault.PutSecret(t.Context(), web, put("p", "v"))
			written <- err
		}()
		synctest.Wait() // it was allowed, and is in the queue
		release <- nil
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
		if err := <-written; !errors.Is(err, api.ErrUnauthorized) {
			t.Errorf("got %v", err)
		}
		f.wantErr("p", 0, api.ErrNotFound)
	})
}
