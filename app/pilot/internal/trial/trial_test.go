package trial_test

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/app/pilot/internal/trial"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

func court(t *testing.T) *trial.Court {
	t.Helper()
	var list []*policy.Policy
	for _, p := range []policy.Policy{
		{Name: "web", SPIFFEIDPattern: `^spiffe://spike\.ist/web$`, PathPattern: `^web/.*$`, Permissions: policy.Read | policy.List},
		{Name: "all", SPIFFEIDPattern: `^spiffe://spike\.ist/ops$`, PathPattern: `^.*$`, Permissions: policy.Write},
		{Name: "lister", SPIFFEIDPattern: `^spiffe://spike\.ist/ls$`, PathPattern: `^spike/system/secret$`, Permissions: policy.List},
		{Name: "guest", SPIFFEIDPattern: `^spiffe://other\.org/guest$`, PathPattern: `^guest/.*$`, Permissions: policy.Read},
		{Name: "runner", SPIFFEIDPattern: `^spiffe://spike\.ist/run$`, PathPattern: `^run/.*$`, Permissions: policy.Execute},
		{Name: "root", SPIFFEIDPattern: `^spiffe://spike\.ist/root$`, PathPattern: `^.*$`, Permissions: policy.Super},
	} {
		compiled, err := policy.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, compiled)
	}
	domains := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	return trial.New(list, role.Domains{Trusted: domains, Nexus: domains, Keeper: domains, Pilot: domains, Lite: domains})
}

func TestDecide(t *testing.T) {
	t.Parallel()
	c := court(t)
	for _, test := range []struct {
		as, path, action string
		allowed          bool
		by, why          string
	}{
		{"/web", "web/db", "read", true, "web", ""},
		{"/web", "web/db", "list", true, "web", ""},
		{"/web", "web/db", "write", false, "", "has not the permission write. It has: read, list."},
		{"/web", "db", "read", false, "", "but not about this path: ^web/.*$"},
		{"/web", "db", "write", false, "", "but neither about this path (^web/.*$) nor with the permission write."},
		{"/web2", "web/db", "read", false, "", "The policy web is about this path, but not about this SPIFFE ID"},
		{"/web2", "web/db", "list", false, "", "The policy root is about this path, but not about this SPIFFE ID"},
		// What nothing needs is allowed to nobody, whatever policies grant.
		{"/run", "run/a", "execute", false, "", "Nothing needs the permission execute at this path. It is needed at spike/system/cipher/exec."},
		{"/root", "spike/system/cipher/exec", "read", false, "", "It is needed at the paths of secrets and spike/system/acl."},
		{"/spike/pilot/role/superuser", "a", "execute", false, "role superuser", "Nothing needs the permission execute at this path."},
		{"/spike/pilot/role/superuser", decision.PathCipher, "execute", true, "role superuser", "needs no policy"},
		// A catch-all reaches nothing reserved, but for super.
		{"/ops", "a", "write", true, "all", ""},
		{"/ops", "spike/system/acl", "write", false, "", "reserved paths are granted only by"},
		{"/root", "spike/system/acl", "write", true, "root", ""},
		{"/root", decision.PathCipher, "execute", true, "root", ""},
		// Whoever may list everything may list each.
		{"/ls", "a/b", "list", true, "lister", ""},
		{"/ls", "a/b", "read", false, "", "neither"},
		{"/ls", decision.PathList, "list", true, "lister", ""},
		{"/web", decision.PathList, "list", false, "", "It may list some paths and not all"},
		// Whom Nexus trusts is not for policies to say.
		{"spiffe://other.org/guest", "guest/db", "read", true, "guest", "must trust the domain other.org"},
		{"spiffe://other.org/spike/pilot/role/superuser", "a", "read", false, "", "must trust the domain other.org"},
		// Roles are not workloads.
		{"/spike/pilot/role/superuser/alice", "a", "read", true, "role superuser", "needs no policy"},
		{"/spike/pilot/role/restore", "a", "read", false, "role restore", "No policy counts"},
		{"/spike/keeper", "a", "read", false, "role keeper", "No policy counts"},
		{"/spike/workload/role/lite", decision.PathCipher, "execute", true, "role lite", ""},
		{"/spike/workload/role/lite", "a", "read", false, "role lite", "nothing else"},
	} {
		as := test.as
		if as[0] == '/' {
			as = "spiffe://spike.ist" + as
		}
		id := spiffeid.RequireFromString(as)
		v, err := c.Decide(trial.Question{As: id, Path: test.path, Action: test.action})
		by := v.Policy
		if v.Role != "" {
			by = "role " + v.Role
		}
		if err != nil || v.Allowed != test.allowed || by != test.by || !strings.Contains(strings.Join(v.Why, "\n"), test.why) {
			t.Errorf("%s %s %s: %+v, %v", test.as, test.action, test.path, v, err)
		}
		if !v.Allowed && len(v.Why) == 0 {
			t.Errorf("%s %s %s: denied without a reason", test.as, test.action, test.path)
		}
	}
	for _, q := range []trial.Question{{Path: "a", Action: "super"}, {Path: "a//b", Action: "read"}, {Path: "spike/system/none", Action: "read"}} {
		if v, err := c.Decide(q); err == nil {
			t.Errorf("%+v is a question: %+v", q, v)
		}
	}
	if v, err := trial.New(nil, role.Domains{}).Decide(trial.Question{Path: "a", Action: "read"}); err != nil || v.Allowed || v.Why[0] != "There are no policies." {
		t.Errorf("without policies: %+v, %v", v, err)
	}
}
