package keeper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

// log collects what a Keeper logs.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// peers is a Keeper on a real port and the domain of everyone who talks to it.
type peers struct {
	t       *testing.T
	domain  *identitytest.Domain
	roles   *role.Domains
	holder  *keeper.Holder
	log     *log
	address string
	stop    func()
}

func isKeeper(id spiffeid.ID) bool { return id.Path() == "/spike/keeper" }

func newPeers(t *testing.T) *peers {
	p := &peers{t: t, domain: identitytest.NewDomain(t, "spike.ist"), log: &log{}}
	logger := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.holder = keeper.NewHolder(logger)
	t.Cleanup(p.holder.Close)
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	p.roles = &role.Domains{Trusted: td, Nexus: td, Keeper: td, Pilot: td, Lite: td}
	p.address, p.stop = p.serve("/spike/keeper", keeper.NewHandler(p.holder, p.roles, logger))
	return p
}

// serve runs a server with the identity of path until stop, at the latest until
// the end of the test.
func (p *peers) serve(path string, handler http.Handler) (address string, stop func()) {
	p.t.Helper()
	return p.serveAt("127.0.0.1:0", path, handler)
}

func (p *peers) serveAt(at, path string, handler http.Handler) (address string, stop func()) {
	p.t.Helper()
	l, err := net.Listen("tcp", at)
	do(p.t, err)
	source := p.domain.Source(path)
	server := mtls.NewServer(mtls.ServerConfig{
		Handler: handler, SVID: source, Bundles: source,
		Accept: func(spiffeid.ID) bool { return true }, Log: slog.New(slog.DiscardHandler),
	})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	stop = sync.OnceFunc(func() {
		// What hangs on purpose is cut off.
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			p.t.Error(err)
		}
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(stop)
	return l.Addr().String(), stop
}

func (p *peers) http(path string) *http.Client {
	source := p.domain.Source(path)
	c := keeper.NewHTTPClient(source, source, isKeeper)
	p.t.Cleanup(c.CloseIdleConnections)
	return c
}

// client is a Nexus's client for address.
func (p *peers) client(address string, timeout time.Duration) *keeper.Client {
	return keeper.NewClient(keeper.ClientConfig{
		URL: &url.URL{Scheme: "https", Host: address}, HTTP: p.http("/spike/nexus"), Timeout: timeout,
	})
}

func (p *peers) nexus() *keeper.Client { return p.client(p.address, 10*time.Second) }

type answer struct {
	status int
	header http.Header
	body   string
}

func (p *peers) send(c *http.Client, method, path, body string) answer {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "https://"+p.address+path, strings.NewReader(body))
	do(p.t, err)
	res, err := c.Do(req)
	do(p.t, err)
	content, err := io.ReadAll(res.Body)
	do(p.t, err, res.Body.Close())
	return answer{res.StatusCode, res.Header, string(content)}
}

// contribution is a request that a Nexus would send.
func contribution(t *testing.T, k key) string {
	t.Helper()
	numbers, err := json.Marshal(k.share.Value)
	do(t, err)
	tag, err := json.Marshal(k.share.Tag)
	do(t, err)
	return fmt.Sprintf(`{"shard":%s,%s`, numbers, tag[1:])
}

func TestBothEnds(t *testing.T) {
	p := newPeers(t)
	ctx, c := t.Context(), p.nexus()
	a, b := newKey("a"), newKey("b")
	held, err := c.Held(ctx)
	do(t, err)
	if held.Instance != p.holder.Instance() || held.Active != nil || held.Pending != nil || held.Anchor != nil {
		t.Errorf("empty Keeper: got %v", held)
	}
	if err := c.Promote(ctx, a.id(), held.Instance, nil); !errors.Is(err, keeper.ErrNotPending) {
		t.Errorf("got %v", err)
	}
	if err := c.Anchor(ctx, a.anchor(1, 2, 3)); !errors.Is(err, keeper.ErrNoShare) {
		t.Errorf("got %v", err)
	}
	do(t, c.Contribute(ctx, a.share, held.Instance, nil))
	held, err = c.Held(ctx)
	do(t, err)
	if held.Active != nil || held.Pending == nil || held.Pending.Value != a.share.Value {
		t.Errorf("pending: got %v", held)
	}
	do(t, c.Promote(ctx, a.id(), held.Instance, nil), c.Anchor(ctx, a.anchor(1, 1<<63+1, 3)),
		c.Contribute(ctx, b.share, held.Instance, a.sign))
	held, err = c.Held(ctx)
	do(t, err)
	if held.Active == nil || held.Pending == nil || held.Anchor == nil {
		t.Fatalf("got %v", held)
	}
	for name, pair := range map[string][2]*keeper.Share{"active": {held.Active, &a.share}, "pending": {held.Pending, &b.share}} {
		if got, want := fmt.Sprint(pair[0].Tag), fmt.Sprint(pair[1].Tag); pair[0].Value != pair[1].Value || got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if got, want := fmt.Sprint(*held.Anchor), fmt.Sprint(a.anchor(1, 1<<63+1, 3)); got != want {
		t.Errorf("anchor: got %s, want %s", got, want)
	}

	failing := errors.New("no key")
	foreign := newKey("a")
	foreign.share.Tag.Cluster = strings.Repeat("d", 32)
	for name, c := range map[string]struct{ err, want error }{
		"contribute, unsigned":     {c.Contribute(ctx, newKey("d").share, held.Instance, nil), keeper.ErrHoldsShare},
		"contribute, badly signed": {c.Contribute(ctx, newKey("d").share, held.Instance, b.sign), keeper.ErrSignature},
		"promote, unsigned":        {c.Promote(ctx, b.id(), held.Instance, nil), keeper.ErrHoldsShare},
		"promote, other instance":  {c.Promote(ctx, b.id(), "another", a.sign), keeper.ErrSignature},
		"erase, unsigned":          {c.Erase(ctx, held.Instance, &a.share.Tag, nil), keeper.ErrHoldsShare},
		"erase, badly signed":      {c.Erase(ctx, held.Instance, &a.share.Tag, b.sign), keeper.ErrSignature},
		"signer that fails":        {c.Erase(ctx, held.Instance, &a.share.Tag, func([]byte) ([]byte, error) { return nil, failing }), failing},
		"anchor, badly signed":     {c.Anchor(ctx, b.anchor(1, 1, 1)), keeper.ErrSignature},
		"anchor, foreign":          {c.Anchor(ctx, foreign.anchor(1, 1, 1)), keeper.ErrForeign},
		"anchor, conflict":         {c.Anchor(ctx, a.anchor(1, 1<<63+1, 4)), keeper.ErrAnchorConflict},
		"anchor, malformed":        {c.Anchor(ctx, keeper.Anchor{}), keeper.ErrInvalid},
		"share, malformed":         {c.Contribute(ctx, keeper.Share{}, held.Instance, a.sign), keeper.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		} else if !strings.Contains(c.err.Error(), p.address) {
			t.Errorf("%s: the error does not name the Keeper: %v", name, c.err)
		}
	}
	if !strings.Contains(p.log.String(), "level=ERROR") {
		t.Error("an anchor's conflict was not logged loudly")
	}
	do(t, c.Promote(ctx, b.id(), held.Instance, a.sign), c.Erase(ctx, held.Instance, &b.share.Tag, b.sign))
	if got := state(t, p.holder); got != "--" {
		t.Errorf("got %s", got)
	}
	p.holder.Close()
	if err := c.Contribute(ctx, a.share, held.Instance, nil); !errors.Is(err, keeper.ErrFault) {
		t.Errorf("got %v", err)
	}
}

// TestOldClients: what a client that knows only the shard sees.
func TestOldClients(t *testing.T) {
	p := newPeers(t)
	c := p.http("/spike/nexus")
	type old struct {
		Shard *[32]byte `json:"shard"`
		Err   string    `json:"err"`
	}
	look := func(status int, code string) *[32]byte {
		t.Helper()
		got := p.send(c, http.MethodPost, keeper.PathShard, "{}")
		var o old
		do(t, json.Unmarshal([]byte(got.body), &o))
		if got.status != status || o.Err != code {
			t.Errorf("got %d %s", got.status, o.Err)
		}
		return o.Shard
	}
	if s := look(http.StatusNotFound, "api_not_found"); s != nil {
		t.Error("an empty Keeper has a shard")
	}
	got := p.send(c, http.MethodPost, keeper.PathContribute, `{"shard":[`+strings.Repeat("1,", 31)+`1]}`)
	if got.status != http.StatusBadRequest || got.body != `{"err":"api_bad_request"}` {
		t.Errorf("a share without a tag: got %d %s", got.status, got.body)
	}
	a, b := newKey("a"), newKey("b")
	do(t, p.holder.Contribute(&a.share, nil))
	if s := look(http.StatusOK, ""); s == nil || *s != [32]byte(a.share.Value) {
		t.Error("not the pending share")
	}
	do(t, p.holder.Promote(a.id(), nil))
	signature, err := a.sign(keeper.ContributeMessage(p.holder.Instance(), &b.share))
	do(t, err, p.holder.Contribute(&b.share, signature))
	if s := look(http.StatusOK, ""); s == nil || *s != [32]byte(a.share.Value) {
		t.Error("not the active share")
	}
}

// TestRoles: Nexus is served, and nobody else, whatever is asked.
func TestRoles(t *testing.T) {
	p := newPeers(t)
	a := newKey("a")
	do(t, p.holder.Contribute(&a.share, nil))
	anchor, err := json.Marshal(a.anchor(1, 1, 1))
	do(t, err)
	bodies := map[string]string{
		keeper.PathContribute: contribution(t, newKey("b")), keeper.PathShard: "{}",
		keeper.PathPromote: fmt.Sprintf(`{"keyId":%q}`, a.id()), keeper.PathErase: "{}", keeper.PathAnchor: string(anchor),
	}
	for _, path := range []string{
		"/spike/keeper", "/spike/keeper/1", "/spike/pilot/role/superuser", "/spike/pilot/role/recover",
		"/spike/pilot/role/restore", "/spike/workload/role/lite", "/spike/nexusx", "/spike/Nexus", "/nexus", "/a",
	} {
		c := p.http(path)
		for route, body := range bodies {
			got := p.send(c, http.MethodPost, route, body)
			want := `{"err":"access_unauthorized"}`
			if route == keeper.PathShard {
				want = `{"shard":null,"err":"access_unauthorized"}`
			}
			if got.status != http.StatusUnauthorized || got.body != want {
				t.Errorf("%s, %s: got %d %s", path, route, got.status, got.body)
			}
			if got := p.send(c, http.MethodPost, route, `{"keyId":"x"}`); got.status != http.StatusUnauthorized {
				t.Errorf("%s, %s without its fields: got %d", path, route, got.status)
			}
		}
	}
	if got := state(t, p.holder); got != "-a" {
		t.Errorf("got %s", got)
	}
	if got := p.send(p.http("/spike/nexus/2"), http.MethodPost, keeper.PathShard, "{}"); got.status != http.StatusOK {
		t.Errorf("below Nexus's path: got %d", got.status)
	}
	stranger := keeper.NewClient(keeper.ClientConfig{
		URL: &url.URL{Scheme: "https", Host: p.address}, HTTP: p.http("/a"), Timeout: 10 * time.Second,
	})
	if _, err := stranger.Held(t.Context()); !errors.Is(err, keeper.ErrRefused) {
		t.Errorf("got %v", err)
	}
}

// TestMalformedRequests are 400 for Nexus, and 401 for everyone else: nobody
// looks at what a stranger sends.
func TestMalformedRequests(t *testing.T) {
	p := newPeers(t)
	good := contribution(t, newKey("a"))
	routes := []string{keeper.PathContribute, keeper.PathShard, keeper.PathPromote, keeper.PathErase, keeper.PathAnchor}
	for _, path := range []string{"/spike/nexus", "/a"} {
		c := p.http(path)
		check := func(what string, got answer) {
			t.Helper()
			status, code := http.StatusBadRequest, "api_bad_request"
			if path != "/spike/nexus" {
				status, code = http.StatusUnauthorized, "access_unauthorized"
			}
			if got.status != status || !strings.HasSuffix(got.body, `"err":"`+code+`"}`) {
				t.Errorf("%s, %s: got %d %s", path, what, got.status, got.body)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Pragma": "no-cache", "Expires": "0",
				"Cache-Control": "no-store, no-cache, must-revalidate, private",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s, %s: %s is %q", path, what, name, got.header.Get(name))
				}
			}
		}
		for _, route := range routes {
			check("GET", p.send(c, http.MethodGet, route, ""))
			check("PUT", p.send(c, http.MethodPut, route, good))
			check("action", p.send(c, http.MethodPost, route+"?action=get", good))
			check("path below", p.send(c, http.MethodPost, route+"/", good))
			check("long path", p.send(c, http.MethodPost, "/"+route, good))
			for _, body := range []string{
				"", " ", "null", "[]", "1", `"x"`, "{", good + "x", good + good, `{"shard":1,"keyId":1,"signature":1,"cluster":1`,
				`{"a":"` + strings.Repeat("x", 64<<10) + `"}`, strings.Repeat("[", 10000), "\x00", "\xff\xfe",
			} {
				check(fmt.Sprintf("%s %.20q", route, body), p.send(c, http.MethodPost, route, body))
			}
		}
		for _, shard := range []string{
			"null", "[]", `"` + strings.Repeat("A", 44) + `"`, "[1]", "{}", "[" + strings.Repeat("1,", 32) + "1]",
			"[" + strings.Repeat("1,", 31) + "256]", "[" + strings.Repeat("1,", 31) + "-1]",
		} {
			body := `{"shard":` + shard + good[strings.Index(good, `],"format"`)+1:]
			check("shard "+shard, p.send(c, http.MethodPost, keeper.PathContribute, body))
		}
	}
	if got := state(t, p.holder); got != "--" {
		t.Errorf("got %s", got)
	}
	// Without a length announced, too much is still too much.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+p.address+keeper.PathShard,
		io.MultiReader(strings.NewReader("{"), strings.NewReader(strings.Repeat(" ", 70<<10)), strings.NewReader("}")))
	do(t, err)
	res, err := p.http("/spike/nexus").Do(req)
	do(t, err, res.Body.Close())
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d", res.StatusCode)
	}
}

// TestNothingShowsAShare goes through what can be printed, and the log.
func TestNothingShowsAShare(t *testing.T) {
	p := newPeers(t)
	c := p.nexus()
	a := newKey("a")
	copy(a.share.Value[:], "canary-0815-canary-0815-canary--")
	held, err := c.Held(t.Context())
	do(t, err, c.Contribute(t.Context(), a.share, held.Instance, nil), c.Promote(t.Context(), a.id(), held.Instance, nil))
	held, err = c.Held(t.Context())
	do(t, err)
	refused := c.Contribute(t.Context(), a.share, held.Instance, nil)
	changed := a.share
	changed.Value[0]++
	refused = errors.Join(refused, c.Contribute(t.Context(), changed, held.Instance, nil))
	p.send(p.http("/a"), http.MethodPost, keeper.PathContribute, contribution(t, a)+"x")

	var out bytes.Buffer
	for _, thing := range []any{held, &held, held.Active, *held.Active, []keeper.Share{a.share}, refused, p.holder} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", thing)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "thing", thing)
	}
	for _, thing := range []any{held, &held, held.Active, *held.Active} {
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "thing", thing)
	}
	out.WriteString(p.log.String())
	for _, form := range []string{"canary", "63616e617279", "99 97 110 97 114", "99,97,110,97,114", "0x63, 0x61, 0x6e", "Y2FuYXJ5"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(form)) {
			t.Errorf("the share shows as %q", form)
		}
	}
	for _, said := range []string{"share contributed", "share promoted", a.id(), "index=2"} {
		if !strings.Contains(p.log.String(), said) {
			t.Errorf("the log does not say %q", said)
		}
	}
}
