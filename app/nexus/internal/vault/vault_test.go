package vault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shamir"
)

func TestVersions(t *testing.T) {
	f := newFixture(t)
	f.wantErr("a/b", 0, api.ErrNotFound)
	for i := 1; i <= 5; i++ {
		if got := f.put("a/b", fmt.Sprint("v", i)); got != i {
			t.Errorf("version %d was numbered %d", i, got)
		}
	}
	f.wantGet("a/b", 0, "v5")
	f.wantGet("a/b", 5, "v5")
	f.wantGet("a/b", 3, "v3") // three versions are kept
	f.wantErr("a/b", 2, api.ErrNotFound)
	f.wantErr("a/b", 6, api.ErrNotFound)
	f.wantErr("a/b", -1, api.ErrNotFound)
	f.wantErr("a", 0, api.ErrNotFound)

	f.restart()
	f.wantErr("a/b", 0, api.ErrNotReady)
	f.unlock()
	f.wantGet("a/b", 0, "v5")
	f.wantGet("a/b", 3, "v3")
	f.wantErr("a/b", 2, api.ErrNotFound)
	if got := f.put("a/b", "v6"); got != 6 {
		t.Errorf("after a restart the next version is %d", got)
	}
}

func TestCompareAndSet(t *testing.T) {
	f := newFixture(t)
	cas := func(n int) error {
		req := put("p", fmt.Sprint(n))
		req.CAS = &n
		_, err := f.vault.PutSecret(t.Context(), admin, req)
		return err
	}
	for _, c := range []struct {
		cas  int
		want error
	}{{1, api.ErrVersionConflict}, {0, nil}, {0, api.ErrVersionConflict}, {1, nil}, {1, api.ErrVersionConflict}, {-1, api.ErrBadRequest}} {
		if err := cas(c.cas); !errors.Is(err, c.want) {
			t.Errorf("cas %d: got %v, want %v", c.cas, err, c.want)
		}
	}
	f.wantGet("p", 0, "1")
}

// TestRoles walks all operations with all roles: exactly the table.
func TestRoles(t *testing.T) {
	f := newFixture(t)
	f.put("p", "v")
	operations := map[decision.Operation]func(vault.Caller) error{
		decision.SecretPut: func(c vault.Caller) error {
			_, err := f.vault.PutSecret(t.Context(), c, put("p", "v"))
			return err
		},
		decision.SecretGet: func(c vault.Caller) error {
			_, err := f.vault.GetSecret(t.Context(), c, &api.SecretGetRequest{Path: "p"})
			return err
		},
		decision.SecretList: func(c vault.Caller) error {
			_, err := f.vault.ListSecrets(t.Context(), c, &api.SecretListRequest{})
			return err
		},
	}
	operations[decision.SecretDelete] = func(c vault.Caller) error {
		return f.vault.DeleteSecret(t.Context(), c, &api.SecretVersionsRequest{Path: "p", Versions: []int{9}})
	}
	operations[decision.SecretUndelete] = func(c vault.Caller) error {
		return f.vault.UndeleteSecret(t.Context(), c, &api.SecretVersionsRequest{Path: "p", Versions: []int{9}})
	}
	operations[decision.SecretDestroy] = func(c vault.Caller) error {
		return f.vault.DestroySecret(t.Context(), c, &api.SecretVersionsRequest{Path: "p", Versions: []int{9}})
	}
	operations[decision.SecretMetadata] = func(c vault.Caller) error {
		_, err := f.vault.GetMetadata(t.Context(), c, &api.SecretGetRequest{Path: "p"})
		return err
	}
	for _, op := range []decision.Operation{decision.OperatorInit, decision.OperatorStatus, decision.OperatorRecover, decision.OperatorRestore, "no.such"} {
		operations[op] = func(c vault.Caller) error {
			r, err := f.vault.Begin(t.Context(), c, op)
			if err != nil {
				return err
			}
			return r.Done(t.Context(), nil)
		}
	}
	allowed := map[string]bool{
		"secret.put superuser": true, "secret.get superuser": true, "secret.list superuser": true,
		"secret.delete superuser": true, "secret.undelete superuser": true, "secret.destroy superuser": true,
		"secret.metadata superuser": true,
		"operator.init superuser":   true, "operator.status superuser": true,
		"operator.recover recover": true, "operator.restore restore": true,
	}
	f.trail.take()
	for op, do := range operations {
		for r := role.None; r <= role.Lite+1; r++ {
			err := do(vault.Caller{ID: "x", Role: r, Request: "id"})
			want := allowed[string(op)+" "+r.String()]
			if want && err != nil || !want && !errors.Is(err, api.ErrUnauthorized) {
				t.Errorf("%s by %s: got %v", op, r, err)
			}
			lines := f.trail.take()
			if len(lines) != 1 || lines[0].Allowed != want || lines[0].Operation != op || lines[0].Request != "id" {
				t.Errorf("%s by %s: audited as %+v", op, r, lines)
			}
		}
	}
}

// TestOrderOfChecks: state, then authorization, then the fields.
func TestOrderOfChecks(t *testing.T) {
	f := newFixture(t)
	bad := put("../escape", "v")
	if _, err := f.vault.PutSecret(t.Context(), visitor, bad); !errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("unauthorized and malformed: got %v", err)
	}
	if _, err := f.vault.PutSecret(t.Context(), admin, bad); !errors.Is(err, api.ErrBadRequest) {
		t.Errorf("malformed: got %v", err)
	}
	if _, err := f.vault.GetSecret(t.Context(), admin, &api.SecretGetRequest{Path: "a//b"}); !errors.Is(err, api.ErrBadRequest) {
		t.Errorf("malformed get: got %v", err)
	}
	f.restart()
	if _, err := f.vault.PutSecret(t.Context(), visitor, bad); !errors.Is(err, api.ErrNotReady) {
		t.Errorf("locked: got %v", err)
	}
}

func TestNothingHappensWithoutItsAuditLine(t *testing.T) {
	f := newFixture(t)
	f.put("p", "v")
	f.trail.broken = true
	if got, err := f.get("p", 0); err == nil || got != "" {
		t.Errorf("a read without an audit line gave %s", got)
	}
	if _, err := f.vault.GetSecret(t.Context(), visitor, &api.SecretGetRequest{Path: "p"}); err == nil || errors.Is(err, api.ErrUnauthorized) {
		t.Errorf("a refusal without an audit line: got %v", err)
	}
	if keys, err := f.vault.ListSecrets(t.Context(), admin, &api.SecretListRequest{}); err == nil {
		t.Errorf("a list without an audit line gave %v", keys)
	}
}

func TestWrongKeyLeavesItLocked(t *testing.T) {
	f := newFixture(t)
	f.put("p", "v")
	f.restart()
	other, err := shamir.NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Destroy()
	if err := f.vault.Unlock(t.Context(), other, nil); !errors.Is(err, vault.ErrWrongKey) {
		t.Errorf("got %v", err)
	}
	if f.vault.State() != api.StateLocked {
		t.Errorf("it is %s", f.vault.State())
	}
	f.unlock()
	f.unlock() // again, as when people and Keepers both bring the key
	f.wantGet("p", 0, "v")
}

func TestCreateOnlyOnce(t *testing.T) {
	f := newFixture(t)
	if err := f.vault.Create(t.Context(), f.birth); !errors.Is(err, api.ErrAlreadyInitialized) {
		t.Errorf("open: got %v", err)
	}
	f.restart()
	if err := f.vault.Create(t.Context(), f.birth); !errors.Is(err, api.ErrAlreadyInitialized) {
		t.Errorf("locked: got %v", err)
	}
}

// TestSharesSurvive: the very shares come back, and both sets make the key.
func TestSharesSurvive(t *testing.T) {
	f := newFixture(t)
	f.restart()
	if _, err := f.vault.Share(keeper.SetKeeper, 1); err == nil {
		t.Error("a locked vault gave a share")
	}
	f.unlock()
	for set, shares := range map[string][]shamir.Share{keeper.SetKeeper: f.birth.Keepers, keeper.SetPaper: f.birth.Paper} {
		for _, s := range shares {
			got, err := f.vault.Share(set, s.Index)
			if err != nil || !got.Equal(s.Value) {
				t.Errorf("%s share %d did not come back: %v", set, s.Index, err)
			}
			got.Destroy()
		}
		back, err := shamir.Combine(2, shares[1:])
		if err != nil || !back.Equal(f.birth.Secret) {
			t.Errorf("the %s set does not make the key: %v", set, err)
		}
		back.Destroy()
	}
}

func TestEmptyStoreOfAnotherMaking(t *testing.T) {
	for name, raw := range map[string]string{
		"newer": `{"format":2,"future":true}`,
		"none":  `{}`, "not JSON": `xx`, "empty": `{"format":1}`,
	} {
		d := newDisk()
		d.tamper = func(content) content {
			return content{header: []byte(raw), state: vault.State{Sequence: 1}}
		}
		_, err := vault.New(t.Context(), vault.Config{Store: d})
		if !errors.Is(err, vault.ErrFormat) && !errors.Is(err, vault.ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "newer" && (!errors.Is(err, vault.ErrFormat) || !strings.Contains(err.Error(), "format 2")) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
