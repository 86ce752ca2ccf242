package decision_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// granting returns a set with one policy, about everybody.
func granting(t *testing.T, path string, permissions policy.Permission) *policy.Set {
	t.Helper()
	p, err := policy.Compile(policy.Policy{Name: "p", SPIFFEIDPattern: "^.*$", PathPattern: path, Permissions: permissions})
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewSet(p)
}

func workload(id string) decision.Caller { return decision.Caller{ID: id, Role: role.Workload} }

// TestDecide has the rules that its callers do not show: Nexus's own tests ask for
// every operation under every role.
func TestDecide(t *testing.T) {
	t.Parallel()
	web := workload("spiffe://spike.ist/web")
	set := granting(t, `^web/.*$`, policy.Read|policy.List|policy.Execute)
	for _, tc := range []struct {
		policies *policy.Set
		caller   decision.Caller
		op       decision.Operation
		path     string
		by       string
		some     bool
	}{
		{set, web, decision.SecretGet, "web/db", "policy p", false},
		{set, web, decision.SecretPut, "web/db", "", false},
		{set, web, decision.SecretGet, "web/" + strings.Repeat("x", 497), "", false},
		{set, web, decision.SecretList, "", "policy p", true},
		{set, web, decision.CipherEncrypt, "web/db", "", false},
		{granting(t, `^spike/system/cipher/exec$`, policy.Execute), web, decision.CipherDecrypt, "", "policy p", false},
		{granting(t, `^spike/system/secret$`, policy.List), web, decision.SecretList, "", "policy p", false},
		{set, web, decision.OperatorStatus, "", "", false},
		{set, web, "no.such", "web/db", "", false},
		{nil, web, decision.SecretGet, "web/db", "", false},
		{nil, decision.Caller{Role: role.Superuser}, decision.SecretGet, "web/db", "role superuser", false},
		{nil, decision.Caller{Role: role.Superuser}, decision.OperatorRecover, "", "", false},
		{nil, decision.Caller{Role: role.Lite}, decision.CipherEncrypt, "", "role lite", false},
		{set, decision.Caller{ID: web.ID, Role: role.Lite}, decision.SecretGet, "web/db", "", false},
		{set, decision.Caller{ID: web.ID}, decision.SecretGet, "web/db", "", false},
		{set, decision.Caller{ID: web.ID}, "no.such", "web/db", "", false},
	} {
		v := decision.Decide(tc.policies, tc.caller, tc.op, tc.path)
		if v.Allowed != (tc.by != "") || v.By(tc.caller.Role) != tc.by || (v.Filter != nil) != tc.some {
			t.Errorf("%+v %s %.20s: %+v, by %q", tc.caller, tc.op, tc.path, v, v.By(tc.caller.Role))
		}
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	var list []*policy.Policy
	for name, path := range map[string]string{"a": `^web/.*$`, "b": `^web/db/.*$`, "c": `^shop/(a|b)$`, "d": `^spike/system/.*$`} {
		p, err := policy.Compile(policy.Policy{Name: name, SPIFFEIDPattern: "^.*$", PathPattern: path, Permissions: policy.List})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	// The reserved pattern of d lists everything, so it is left out here.
	list = slices.DeleteFunc(list, func(p *policy.Policy) bool { return p.Name == "d" })
	f := decision.Decide(policy.NewSet(list...), workload("x"), decision.SecretList, "").Filter
	for path, lets := range map[string]bool{"web/x": true, "shop/a": true, "shop/c": false, "web": false, "spike/system/acl": false} {
		if f.Lets(path) != lets || (f.By(path) != nil) != lets {
			t.Errorf("%s: %v", path, f.By(path))
		}
	}
	for prefix, want := range map[string]string{"": "shop/ web/", "w": "web/", "web/d": "web/d", "shop/ab": "shop/ab", "x": ""} {
		if got := strings.Join(f.Within(prefix), " "); got != want {
			t.Errorf("within %q: %q", prefix, got)
		}
	}
	var all *decision.Filter
	if !all.Lets("anything") || !slices.Equal(all.Within("x"), []string{"x"}) {
		t.Error("no filter lets not everything through")
	}
}

// TestAsk has what tells a question from a request: it may be about nothing.
func TestAsk(t *testing.T) {
	t.Parallel()
	const all = policy.Read | policy.Write | policy.List | policy.Execute
	for _, tc := range []struct {
		pattern string
		want    policy.Permission
		path    string
		allowed bool
		err     string
	}{
		{`^web/.*$`, policy.Read, "web/db", true, ""},
		{`^web/.*$`, policy.Read, "shop/db", false, ""},
		// Nexus asks for execute at one path alone, whatever a policy grants elsewhere.
		{`^web/.*$`, policy.Execute, "web/db", false, decision.ErrNothing.Error()},
		{`^spike/system/.*$`, policy.Execute, "spike/system/cipher/exec", true, ""},
		{`^spike/system/.*$`, policy.Read, "spike/system/cipher/exec", false, decision.ErrNothing.Error()},
		{`^spike/system/.*$`, policy.Write, "spike/system/secret", false, decision.ErrNothing.Error()},
		{`^spike/system/.*$`, policy.List, "spike/system/acl", true, ""},
		{`^spike/system/.*$`, policy.List, "spike/system/x", false, "nothing has the reserved path"},
		{`^spike/system/.*$`, policy.Read, "spike/system", false, "reserved"},
		// Whoever may list everything may list each; whoever may list some not everything.
		{`^spike/system/secret$`, policy.List, "web/db", true, ""},
		{`^web/.*$`, policy.List, "web/db", true, ""},
		{`^web/.*$`, policy.List, "shop/db", false, ""},
		{`^web/.*$`, policy.List, "spike/system/secret", false, ""},
		{`^web/.*$`, policy.Read, "web//db", false, "two slashes"},
		{`^web/.*$`, policy.Super, "web/db", false, decision.ErrNothing.Error()},
	} {
		v, err := decision.Ask(granting(t, tc.pattern, all), workload("x"), tc.want, tc.path)
		if v.Allowed != tc.allowed || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v at %s: %+v, %v", tc.pattern, tc.want.Names(), tc.path, v, err)
		}
		if v.Allowed && v.Filter != nil {
			t.Errorf("%s: %v at %s is allowed in part", tc.pattern, tc.want.Names(), tc.path)
		}
		root := decision.Caller{Role: role.Superuser}
		if v, again := decision.Ask(nil, root, tc.want, tc.path); v.Allowed != (tc.err == "") || errors.Is(err, decision.ErrNothing) != errors.Is(again, decision.ErrNothing) {
			t.Errorf("superuser: %v at %s: %+v, %v", tc.want.Names(), tc.path, v, again)
		}
	}
}

// TestTaken spells out what can be granted where.
func TestTaken(t *testing.T) {
	t.Parallel()
	const secrets = policy.Read | policy.Write | policy.List
	for path, want := range map[string]policy.Permission{
		"web/db": secrets, "spike/system/acl": secrets, "spike/system/secret": policy.List,
		"spike/system/cipher/exec": policy.Execute, "spike/system/acl/x": 0,
	} {
		if got := decision.Taken(path); got != want {
			t.Errorf("%s: %v", path, got.Names())
		}
	}
	if got := decision.TakenAtSecrets(); got != secrets {
		t.Errorf("at secrets: %v", got.Names())
	}
	if got := strings.Join(decision.Reserved(), " "); got != "spike/system/acl spike/system/cipher/exec spike/system/secret" {
		t.Errorf("reserved are %s", got)
	}
	for path, ok := range map[string]bool{
		"a": true, "spike/systems": true, "spike/system/acl": true, "spike/system": false, "spike/system/": false, "spike/system/acl/": false,
	} {
		if err := decision.CheckPath(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}
