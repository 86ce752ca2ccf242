package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

// operation is what a route is for. The zero fields say that nobody has it.
type operation struct {
	roles      []string // that may, whatever the policies
	permission string   // that a policy must grant a workload; "": none does
	reserved   string   // at this path; "": at the request's own
	locked     bool     // it is there without a root key, too
	// body can be read, and asks for nothing that could be done: who may gets past
	// 401, and no further. %s is a secret's path.
	body string
}

var superuserOnly = []string{"superuser"}

// operations lists who may do what, as the API's description does.
func operations() map[string]operation {
	secret := func(permission, body string) operation {
		return operation{roles: superuserOnly, permission: permission, body: `{"path":%s` + body + `}`}
	}
	policy := func(permission, body string) operation {
		return operation{roles: superuserOnly, permission: permission, reserved: "spike/system/acl", body: body}
	}
	cipher := operation{roles: []string{"superuser", "lite"}, permission: "execute", reserved: "spike/system/cipher/exec", body: `{}`}
	return map[string]operation{
		"/v1/store/secrets":                     secret("write", ""),
		"/v1/store/secrets?action=get":          secret("read", ""),
		"/v1/store/secrets?action=delete":       secret("write", `,"versions":[77]`),
		"/v1/store/secrets?action=undelete":     secret("write", `,"versions":[77]`),
		"/v1/store/secrets?action=destroy":      secret("write", `,"versions":[]`),
		"/v1/store/secrets/metadata?action=get": secret("read", ""),
		"/v1/store/secrets?action=list":         {roles: superuserOnly, permission: "list", reserved: "spike/system/secret", body: `{}`},
		"/v1/acl/policy":                        policy("write", `{"name":""}`),
		"/v1/acl/policy?action=get":             policy("read", `{"id":"none"}`),
		"/v1/acl/policy?action=delete":          policy("write", `{"id":"none"}`),
		"/v1/acl/policy?action=list":            policy("list", `{}`),
		"/v1/cipher/encrypt":                    cipher,
		"/v1/cipher/decrypt":                    cipher,
		"/v1/operator/init":                     {roles: superuserOnly, body: `{}`, locked: true},
		"/v1/operator/status":                   {roles: superuserOnly, body: `{}`, locked: true},
		"/v1/operator/accept":                   {roles: superuserOnly, body: `{"sequence":0}`, locked: true},
		"/v1/operator/backup":                   {roles: superuserOnly, body: `{}`},
		"/v1/operator/load":                     {roles: superuserOnly, body: `no backup`, locked: true},
		"/v1/operator/keeper":                   {roles: superuserOnly, body: `{"replace":{}}`},
		"/v1/operator/recover":                  {roles: []string{"recover"}, body: `{}`},
		"/v1/operator/restore":                  {roles: []string{"restore"}, body: `{"id":1,"shard":[` + strings.Repeat("0,", 31) + `1]}`, locked: true},
	}
}

// plainRole says what an ID is by the text of the description alone: the path
// named, or anything below it, in the first trust domain.
func plainRole(id string) string {
	rest, ok := strings.CutPrefix(id, "spiffe://"+home+"/")
	if !ok {
		return "workload"
	}
	segments := strings.Split(rest, "/")
	for path, name := range map[string]string{
		"spike/nexus": "nexus", "spike/keeper": "keeper", "spike/pilot/role/superuser": "superuser",
		"spike/pilot/role/recover": "recover", "spike/pilot/role/restore": "restore", "spike/workload/role/lite": "lite",
	} {
		wanted := strings.Split(path, "/")
		if len(segments) >= len(wanted) && slices.Equal(segments[:len(wanted)], wanted) {
			return name
		}
	}
	return "workload"
}

// everyone is an identity of each kind, and those that resemble one.
func everyone() (list []string) {
	for r := role.Nexus; r <= role.Lite; r++ {
		list = append(list, r.Path(), r.Path()+"/alice", r.Path()+"x", r.Path()+"@"+second)
	}
	return append(list, "/web", "/web@"+second, "/spike", "/spike/pilot/role", "/spike/pilot", "/spike/pilot/role/Superuser",
		"/spike/pilot/role/superuser.", "/x/spike/pilot/role/superuser", "/spike/workload/role")
}

func idOf(who string) string {
	path, domain, ok := strings.Cut(who, "@")
	if !ok {
		domain = home
	}
	return "spiffe://" + domain + path
}

const bothDomains = "SPIKE_TRUST_ROOT=" + home + "," + second

// TestRoles asks for every route under every identity, in every state.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start(t, "new", bothDomains)
	ask := func(state string, prepare ...string) {
		for _, step := range prepare {
			must(t, w.step(t.Context(), c, step))
		}
		for _, who := range everyone() {
			w.askAll(t, c, state, who)
		}
	}
	ask("new", "kill a keeper") // so that init changes nothing
	must(t, c.Up(t.Context()))
	ask("open", "init")
	ask("locked", "empty the keepers", "restart nexus", "wait until locked")
}

func (w *world) askAll(t *testing.T, c *clustertest.Cluster, state, who string) {
	t.Helper()
	source, err := w.source(who)
	must(t, err)
	to := transport(source, role.Nexus)
	defer to.CloseIdleConnections()
	operations := operations()
	for _, route := range routes(t) {
		op, ok := operations[route]
		if !ok {
			t.Fatalf("say here who may use %s", route)
		}
		body := strings.ReplaceAll(op.body, "%s", `"web/db"`)
		kind := "application/json"
		if route == "/v1/operator/load" {
			kind = api.OctetStream
		}
		a, err := send(t.Context(), to, c.URL(), http.MethodPost, route, kind, body)
		if err != nil {
			t.Fatalf("%s %s: %v", who, route, err)
		}
		allowed := slices.Contains(op.roles, plainRole(idOf(who)))
		switch {
		case state != "open" && !op.locked:
			ok = a.status == http.StatusServiceUnavailable
		case allowed:
			ok = a.status != http.StatusUnauthorized && a.status != http.StatusServiceUnavailable && a.status < 500
		default:
			ok = a.status == http.StatusUnauthorized && strings.Contains(a.body, `"err":"access_unauthorized"`)
		}
		if !ok {
			t.Errorf("%s, %s %s: got %d %s; allowed is %v", state, who, route, a.status, a.body, allowed)
		}
	}
}

// FuzzSPIFFEID compares the role of any ID with that by the description's text.
func FuzzSPIFFEID(f *testing.F) {
	for _, who := range everyone() {
		f.Add(idOf(who))
	}
	f.Add("spiffe://" + home + "/spike//nexus")
	f.Add("spiffe://" + home + "/spike/nexus/")
	f.Add("spiffe://" + home + "/spike/./nexus")
	f.Add("SPIFFE://" + home + "/spike/nexus")
	f.Add("spiffe://" + home + ":443/spike/nexus")
	f.Add("spiffe://" + home)
	var once sync.Once
	var roles role.Domains
	f.Fuzz(func(t *testing.T, text string) {
		once.Do(func() {
			first := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString(home)}
			roles = role.Domains{Nexus: first, Keeper: first, Pilot: first, Lite: first,
				Trusted: append(first, spiffeid.RequireTrustDomainFromString(second))}
		})
		id, err := spiffeid.FromString(text)
		if err != nil {
			return
		}
		want := plainRole(id.String())
		if domain := id.TrustDomain().Name(); domain != home && domain != second {
			want = "none"
		}
		if got := roles.Of(id).String(); got != want {
			t.Errorf("%s: got %s, want %s", fmt.Sprint(id), got, want)
		}
	})
}
