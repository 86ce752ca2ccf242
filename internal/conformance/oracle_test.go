package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// grant is a policy as the oracle has it.
type grant struct {
	ids, paths  *regexp.Regexp
	permissions []string
	// reserved: the pattern says literally that it is about reserved paths.
	reserved bool
	// policy is what Nexus makes of it, which the oracle does not look at.
	policy *policy.Policy
}

func (g *grant) names(id string) bool { return g.ids.MatchString(id) }

func (g *grant) compile(name string) (err error) {
	permissions, err := policy.ParsePermissions(g.permissions)
	if err != nil {
		return err
	}
	g.policy, err = policy.Compile(policy.Policy{
		Name: name, SPIFFEIDPattern: g.ids.String(), PathPattern: g.paths.String(), Permissions: permissions,
	})
	return err
}

func (g *grant) gives(permission string) bool {
	return slices.Contains(g.permissions, permission) || slices.Contains(g.permissions, "super")
}

// allowed is the whole of the rules, as plainly as can be.
func allowed(grants []grant, id, route, path string) bool {
	op := operations()[route]
	who := plainRole(id)
	if slices.Contains(op.roles, who) {
		return true
	}
	if who != "workload" || op.permission == "" {
		return false
	}
	if op.reserved != "" {
		path = op.reserved
	}
	for _, g := range grants {
		if !g.names(id) || !g.gives(op.permission) || len(path) > 500 || !g.paths.MatchString(path) {
			continue
		}
		if !strings.HasPrefix(path, "spike/system/") || g.reserved || slices.Contains(g.permissions, "super") {
			return true
		}
	}
	return false
}

// listed returns which keys a list has; nil when it is refused.
func listed(grants []grant, id string, keys []string) []string {
	if allowed(grants, id, "/v1/store/secrets?action=list", "") {
		return keys
	}
	if plainRole(id) != "workload" {
		return nil
	}
	var found []string
	for _, g := range grants {
		if !g.names(id) || !g.gives("list") || g.reserved {
			continue
		}
		found = append([]string{}, found...) // not nil: something may be listed
		for _, key := range keys {
			if g.paths.MatchString(key) && !slices.Contains(found, key) {
				found = append(found, key)
			}
		}
	}
	slices.Sort(found)
	return found
}

// pool is what cases are drawn from.
type pool struct {
	*rand.Rand
	keys []string
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func (p *pool) who() string {
	switch p.IntN(4) {
	case 0:
		return pick(p.Rand, everyone()...)
	case 1, 2:
		return pick(p.Rand, "/web", "/shop", "/web/x", "/ns/shop", "/ns/web/sa") + pick(p.Rand, "", "", "@"+second)
	}
	var path strings.Builder
	for range 1 + p.IntN(4) {
		path.WriteString("/" + pick(p.Rand, "ns", "web", "shop", "sa", "webx", "spike", "W.b", "a-b_c"))
	}
	return path.String() + pick(p.Rand, "", "", "@"+second)
}

func (p *pool) path() string {
	switch p.IntN(8) {
	case 0, 1, 2:
		return pick(p.Rand, p.keys...)
	case 3:
		return pick(p.Rand, "spike/system/acl", "spike/system/secret", "spike/system/cipher/exec", "spike/system/x", "spike/systems", "spike/system")
	case 4:
		return pick(p.Rand, "", "/web/db", "web//db", "wéb/db", "web/db/", "web/../web/db", "web/db\n", strings.Repeat("p", 501), "web/"+strings.Repeat("x", 500))
	}
	return pick(p.Rand, "web", "shop", "Web", "a") + "/" + pick(p.Rand, "db", "api", "a", "b", "none", "db/x")
}

// policy draws a policy, and says what it means.
func (p *pool) policy(whos []string) (body string, g grant) {
	ids := pick(p.Rand,
		`^spiffe://spike\.ist/.*$`, `^spiffe://second\.example/.*$`, `^.*$`, `^spiffe://[^/]+/web$`, `^spiffe://spike\.ist/(web|shop)(/.*)?$`,
		`^(?i)spiffe://SPIKE\.IST/WEB$`, `^spiffe://spike\.ist/w.b$`, `^spiffe://(spike\.ist|second\.example)/ns/[a-z]+(/sa)?$`, `^$`,
		`^.*/spike/pilot/role/superuser$`, `^`+regexp.QuoteMeta(idOf(pick(p.Rand, whos...)))+`$`)
	paths := pick(p.Rand,
		`^web/.*$`, `^.*$`, `^[^/]+/db$`, `^(web|shop)/[a-c]$`, `^web/db$|^shop/db$`, `^spike/.*$`, `^(spike/system/acl)$`, `^(?i)spike/system/acl$`,
		`^spike/system/acl$`, `^spike/system/.*$`, `^spike/system/(acl|secret)$`, `^spike/system/cipher/exec$`, `^spike/system/secret$`,
		`^spike/system/acl$|^spike/system/secret$`, `^`+regexp.QuoteMeta(pick(p.Rand, p.keys...))+`$`)
	g = grant{ids: regexp.MustCompile(ids), paths: regexp.MustCompile(paths)}
	// Those patterns of the list above that are a literal, begun by ^ and with no
	// alternative around it.
	g.reserved = strings.HasPrefix(paths, `^spike/system/`) && !strings.Contains(paths, `$|^`)
	for _, permission := range []string{"read", "write", "list", "execute", "super"} {
		if p.IntN(2) == 0 && (permission != "super" || p.IntN(3) == 0) {
			g.permissions = append(g.permissions, permission)
		}
	}
	if g.permissions == nil {
		g.permissions = []string{"read"}
	}
	encoded, err := json.Marshal(api.PolicyPutRequest{SPIFFEIDPattern: ids, PathPattern: paths, Permissions: g.permissions})
	if err != nil {
		panic(err) // it is strings
	}
	return string(encoded), g
}

// oracle is one run: a cluster under changing policies.
type oracle struct {
	t       *testing.T
	world   *world
	cluster *clustertest.Cluster
	admin   *http.Transport
	keys    []string
	asked   atomic.Int64
	yes     atomic.Int64
}

func (o *oracle) must(route, body string) {
	o.t.Helper()
	a, err := send(o.t.Context(), o.admin, o.cluster.URL(), http.MethodPost, route, "application/json", body)
	if err != nil || a.status != http.StatusOK {
		o.t.Fatalf("superuser %s %s: %d, %v", route, body, a.status, err)
	}
}

// TestOracle draws policies, identities and requests, and compares each decision
// of Nexus with that of a few lines of plain code, and with what "spike policy test"
// would have said of it.
func TestOracle(t *testing.T) {
	t.Parallel()
	const callers, each, slots = 6, 84, 8
	w := newWorld(t)
	o := &oracle{t: t, world: w, cluster: w.start(t, "open", bothDomains)}
	source, err := w.source("superuser")
	must(t, err)
	o.admin = transport(source, role.Nexus)
	defer o.admin.CloseIdleConnections()
	o.keys = []string{"Web/db", "a", "shop/a", "shop/db", "spike/systems", "web/api", "web/b", "web/db"}
	for _, key := range o.keys {
		o.must("/v1/store/secrets", fmt.Sprintf(`{"path":%q,"values":{"k":"v"}}`, key))
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("the seed is %d", seed)
	p := &pool{Rand: r, keys: o.keys}
	grants := make(map[int]grant)
	for o.asked.Load() < int64(*requests) && !t.Failed() {
		whos := make([]string, callers)
		for i := range whos {
			whos[i] = p.who()
		}
		for range 1 + p.IntN(slots) {
			slot := p.IntN(slots)
			if _, ok := grants[slot]; ok && p.IntN(4) == 0 {
				o.must("/v1/acl/policy?action=delete", fmt.Sprintf(`{"id":"p%d"}`, slot))
				delete(grants, slot)
				continue
			}
			body, g := p.policy(whos)
			o.must("/v1/acl/policy", fmt.Sprintf(`{"name":"p%d",%s`, slot, strings.TrimPrefix(strings.Replace(body, `"name":"",`, "", 1), "{")))
			must(t, g.compile(fmt.Sprint("p", slot)))
			grants[slot] = g
		}
		var now []grant
		set := policy.NewSet()
		for _, g := range grants {
			now = append(now, g)
			set = set.With(g.policy)
		}
		var wg sync.WaitGroup
		for i, who := range whos {
			own := &pool{Rand: rand.New(rand.NewPCG(seed, uint64(i)+uint64(o.asked.Load()))), keys: o.keys}
			wg.Go(func() { o.ask(t.Context(), own, now, set, who, each) })
		}
		wg.Wait()
	}
	t.Logf("%d of %d requests were allowed", o.yes.Load(), o.asked.Load())
	if o.yes.Load() < o.asked.Load()/20 {
		t.Error("too few requests were allowed to show anything")
	}
}

func (o *oracle) ask(ctx context.Context, p *pool, grants []grant, set *policy.Set, who string, n int) {
	source, err := o.world.source(who)
	if err != nil {
		o.t.Error(err)
		return
	}
	to := transport(source, role.Nexus)
	defer to.CloseIdleConnections()
	all := operations()
	var names []string
	for route, op := range all {
		if len(op.roles) > 0 && !strings.HasPrefix(route, "/v1/operator/") || route == "/v1/operator/recover" || route == "/v1/operator/status" {
			names = append(names, route)
		}
	}
	slices.Sort(names)
	for range n {
		route, path := pick(p.Rand, names...), p.path()
		if p.IntN(2) == 0 {
			route = pick(p.Rand, "/v1/store/secrets?action=get", "/v1/store/secrets?action=list", "/v1/store/secrets")
		}
		quoted, err := json.Marshal(path)
		if err != nil {
			o.t.Error(err)
			return
		}
		body := strings.ReplaceAll(all[route].body, "%s", string(quoted))
		a, err := send(ctx, to, o.cluster.URL(), http.MethodPost, route, "application/json", body)
		if err != nil {
			o.t.Errorf("%s %s: %v", who, route, err)
			return
		}
		o.asked.Add(1)
		want, ok := allowed(grants, idOf(who), route, path), a.status < 500
		if route == "/v1/store/secrets?action=list" {
			keys := listed(grants, idOf(who), o.keys)
			want = keys != nil
			expected, err := json.Marshal(keys)
			ok = err == nil && (!want || a.body == `{"keys":`+string(expected)+`}`)
		}
		if want {
			o.yes.Add(1)
		}
		if !ok || want == (a.status == http.StatusUnauthorized) {
			o.t.Errorf("%s %s %.60q under %+v:\n got %d %s, and allowed is %v", who, route, path, grants, a.status, a.body, want)
		}
		if err := foretold(set, who, all[route], path, o.keys, a); err != nil {
			o.t.Errorf("%s %s %.60q under %+v: %v", who, route, path, grants, err)
		}
	}
}
