package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/role"
)

// runner plays a script against a cluster.
type runner struct {
	t       *testing.T
	world   *world
	cluster *clustertest.Cluster
	values  variables
	seen    map[string]bool // request ids
	// transport returns how a caller's request is sent, and what ends that.
	transport way
	major     int // the HTTP version that answers must have
}

type way func(*identitytest.Source, role.Role) (to *http.Transport, end func())

// perCall is a transport for each call, as the SDK has it.
func perCall(s *identitytest.Source, r role.Role) (*http.Transport, func()) {
	t := transport(s, r)
	return t, t.CloseIdleConnections
}

func play(t *testing.T, s script, by way, major int) {
	t.Helper()
	w := newWorld(t)
	r := &runner{
		t: t, world: w, cluster: w.start(t, s.cluster, s.settings...),
		values: variables{}, seen: map[string]bool{}, transport: by, major: major,
	}
	for _, l := range s.lines {
		if l.step != "" {
			if err := w.step(t.Context(), r.cluster, l.step); err != nil {
				t.Fatalf("%s: %v", l.place, err)
			}
			continue
		}
		r.play(l)
	}
}

func (r *runner) play(l line) {
	r.t.Helper()
	source, err := r.world.source(l.who)
	if err != nil {
		r.t.Fatalf("%s: %v", l.place, err)
	}
	body, err := r.values.expand(l.body)
	if err != nil {
		r.t.Fatalf("%s: %v", l.place, err)
	}
	base, server, target := r.cluster.URL(), role.Nexus, l.target
	if rest, ok := strings.CutPrefix(target, "keeper:"); ok {
		base, server, target = r.cluster.KeeperURL(1), role.Keeper, rest
	}
	kind := "application/json"
	if l.octets {
		kind = api.OctetStream
	}
	to, end := r.transport(source, server)
	defer end()
	a, err := send(r.t.Context(), to, base, l.method, target, kind, body)
	if err != nil || l.status == 0 {
		if err == nil || l.status != 0 {
			r.t.Errorf("%s: %s %s: got %d, %v; want %d", l.place, l.who, l.target, a.status, err, l.status)
		}
		return
	}
	matched := !l.answered
	switch {
	case matched:
	case l.octetsBack:
		matched, err = r.values.matchOctets(l.answer, a.body)
	default:
		matched, err = r.values.match(l.answer, a.body)
	}
	if err != nil {
		r.t.Fatalf("%s: %v", l.place, err)
	}
	if a.status != l.status || !matched {
		r.t.Errorf("%s: %s %s\n got %d %.600s\nwant %d %s", l.place, l.who, l.target, a.status, a.body, l.status, l.answer)
		return
	}
	r.checkForm(l, a, server)
}

// checkForm checks what is true of every answer.
func (r *runner) checkForm(l line, a answer, server role.Role) {
	r.t.Helper()
	if a.major != r.major {
		r.t.Errorf("%s: answered over HTTP/%d", l.place, a.major)
	}
	kind := "application/json"
	if l.octetsBack {
		kind = api.OctetStream
	}
	for name, want := range map[string]string{
		"Content-Type": kind, "Cache-Control": "no-store, no-cache, must-revalidate, private", "Pragma": "no-cache", "Expires": "0",
	} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != want {
			r.t.Errorf("%s: the header %s is %q", l.place, name, got)
		}
	}
	if server == role.Nexus {
		id := a.header.Get(api.RequestIDHeader)
		if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) || r.seen[id] {
			r.t.Errorf("%s: the request id is %q", l.place, id)
		}
		r.seen[id] = true
	}
	if l.octetsBack || l.method == http.MethodHead {
		return
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(a.body), &object); err != nil {
		r.t.Fatalf("%s: the answer is no JSON object: %v", l.place, err)
	}
	if code, ok := object["err"]; ok == (a.status == http.StatusOK) || ok && code == "" {
		r.t.Errorf("%s: status %d with err %q", l.place, a.status, code)
	}
}

// scripts returns the files in testdata, and the API's reference.
func scripts(t *testing.T) (list []script) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	must(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		must(t, err)
		s, err := parse(filepath.Base(name), string(text))
		must(t, err)
		list = append(list, s)
	}
	if len(list) < 10 {
		t.Fatalf("there are %d files", len(list))
	}
	return list
}

func examples(t *testing.T) script {
	t.Helper()
	root, err := clustertest.Root()
	must(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "api.md"))
	must(t, err)
	// Outside the blocks there is nothing to run; lines keep their numbers.
	var text strings.Builder
	in := false
	for l := range strings.Lines(string(page)) {
		fence := strings.HasPrefix(l, "```")
		if in && !fence {
			text.WriteString(l)
		} else {
			text.WriteString("\n")
		}
		if fence {
			in = !in && strings.TrimSpace(l) == "```case"
		}
	}
	s, err := parse("docs/api.md", text.String())
	must(t, err)
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, s := range scripts(t) {
		t.Run(strings.TrimSuffix(s.file, ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, s, perCall, 1)
		})
	}
}

// TestReference plays the examples in docs/api.md over connections that are kept,
// HTTP/1.1 and 2.
func TestReference(t *testing.T) {
	t.Parallel()
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP %d", major), func(t *testing.T) {
			t.Parallel()
			kept := map[string]*http.Transport{}
			play(t, examples(t), func(s *identitytest.Source, r role.Role) (*http.Transport, func()) {
				svid, err := s.GetX509SVID()
				must(t, err)
				key := svid.ID.String() + r.String()
				if kept[key] == nil {
					kept[key] = transport(s, r)
					kept[key].ForceAttemptHTTP2 = major == 2
					t.Cleanup(kept[key].CloseIdleConnections)
				}
				return kept[key], func() {}
			}, major)
		})
	}
}

// routes reads what Nexus serves from its source: a route that is added there
// needs cases here.
func routes(t *testing.T) (list []string) {
	t.Helper()
	root, err := clustertest.Root()
	must(t, err)
	names := map[string]string{}
	source, err := os.ReadFile(filepath.Join(root, "internal", "api", "route.go"))
	must(t, err)
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+) += "([^"]*)"$`).FindAllStringSubmatch(string(source), -1) {
		names[m[1]] = m[2]
	}
	source, err = os.ReadFile(filepath.Join(root, "app", "nexus", "internal", "server", "route.go"))
	must(t, err)
	for _, m := range regexp.MustCompile(`\{api\.(Path\w+), api\.(Action\w+), `).FindAllStringSubmatch(string(source), -1) {
		path, action := names[m[1]], names[m[2]]
		if path == "" || action == "" && m[2] != "ActionPut" {
			t.Fatalf("%s and %s are not among the names in internal/api", m[1], m[2])
		}
		if action != "" {
			path += "?" + url.Values{"action": {action}}.Encode()
		}
		list = append(list, path)
	}
	if len(list) < 20 {
		t.Fatalf("found %d routes", len(list))
	}
	return list
}

// TestEveryRouteHasCases wants for each route an example in the reference, a case
// that succeeds, and one that is refused.
func TestEveryRouteHasCases(t *testing.T) {
	t.Parallel()
	statuses := func(list []script) map[string][]int {
		found := map[string][]int{}
		for _, s := range list {
			for _, l := range s.lines {
				found[l.target] = append(found[l.target], l.status)
			}
		}
		return found
	}
	cases, shown := statuses(scripts(t)), statuses([]script{examples(t)})
	for _, route := range routes(t) {
		for _, status := range []int{200, 400, 401} {
			if !slices.Contains(cases[route], status) {
				t.Errorf("%s: no case is answered with %d", route, status)
			}
		}
		if len(shown[route]) == 0 {
			t.Errorf("docs/api.md has no example of %s", route)
		}
	}
}
