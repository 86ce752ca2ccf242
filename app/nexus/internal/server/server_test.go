package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/app/nexus/internal/rootkey"
	"github.com/spiffe/spike/app/nexus/internal/server"
	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

// bench is a server over a real vault; only the caller's identity is made up.
type bench struct {
	t     *testing.T
	serve http.Handler
	vault *vault.Vault
	log   bytes.Buffer
	mu    sync.Mutex
	audit []vault.Entry
}

func newBench(t *testing.T, open bool) *bench {
	t.Helper()
	b := &bench{t: t}
	v, err := vault.New(t.Context(), vault.Config{
		Store: memory.New(), Log: slog.New(slog.DiscardHandler),
		Audit: func(_ context.Context, e vault.Entry) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.audit = append(b.audit, e)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	if open {
		birth, err := vault.NewBirth(nil, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer birth.Destroy()
		if err := v.Create(t.Context(), birth); err != nil {
			t.Fatal(err)
		}
	}
	b.vault = v
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	b.serve = server.New(server.Config{
		Vault: v, Roles: role.Domains{Trusted: td, Nexus: td, Keeper: td, Pilot: td, Lite: td},
		Operator:      rootkey.New(rootkey.Config{Vault: v, Backend: "memory", Log: slog.New(slog.DiscardHandler)}),
		MaxCiphertext: 1024,
		Log:           slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return b
}

const superuser = "spiffe://spike.ist/spike/pilot/role/superuser"

func (b *bench) do(id, method, target, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	var reader io.Reader = strings.NewReader(body)
	return b.send(id, httptest.NewRequest(method, target, reader))
}

func (b *bench) send(id string, r *http.Request) *httptest.ResponseRecorder {
	b.t.Helper()
	if id != "" {
		r = r.WithContext(mtls.WithPeerID(r.Context(), spiffeid.RequireFromString(id)))
	}
	w := httptest.NewRecorder()
	b.serve.ServeHTTP(w, r)
	return w
}

func (b *bench) want(id, target, body string, status int, answer string) {
	b.t.Helper()
	w := b.do(id, http.MethodPost, target, body)
	if w.Code != status || w.Body.String() != answer {
		b.t.Errorf("POST %s %.80s\n got %d %s\nwant %d %s", target, body, w.Code, w.Body, status, answer)
	}
}

func TestTheWire(t *testing.T) {
	b := newBench(t, true)
	const path, bad = "/v1/store/secrets", `{"err":"api_bad_request"}`
	b.want(superuser, path+"?action=list", `{}`, 200, `{"keys":[]}`)
	b.want(superuser, path, `{"path":"a/b","values":{"k":"<v>&\"\u00e9\n"}}`, 200, `{}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b"}`, 200, `{"data":{"k":"<v>&\"é\n"}}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b","version":1}`, 200, `{"data":{"k":"<v>&\"é\n"}}`)
	b.want(superuser, path, `{"path":"pairs","values":{"k":"\ud83d\ude00 \\ud800"}}`, 200, `{}`)
	b.want(superuser, path+"?action=get", `{"path":"pairs"}`, 200, `{"data":{"k":"😀 \\ud800"}}`)
	b.want(superuser, path+"?action=destroy", `{"path":"pairs","versions":[1]}`, 200, `{}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b","version":2}`, 404, `{"data":null,"err":"api_not_found"}`)
	b.want(superuser, path+"?action=get", `{"path":"a/c"}`, 404, `{"data":null,"err":"api_not_found"}`)
	b.want(superuser, path+"?action=get", `{"path":"/a"}`, 400, `{"data":null,"err":"api_bad_request"}`)
	b.want(superuser, path, `{"path":"a/b","values":{"k":"2"},"return":"version"}`, 200, `{"version":2}`)
	b.want(superuser, path, `{"path":"a/b","values":{"k":"2"},"cas":1}`, 409, `{"err":"entity_version_invalid"}`)
	b.want(superuser, path, `{"path":"a/b","values":{"k":"2"},"return":"x"}`, 400, bad)
	b.want(superuser, path, `{"path":"a/b","values":{}}`, 400, bad)
	b.want(superuser, path, `{"path":"a/b","values":{"":"v"}}`, 400, bad)
	b.want(superuser, path, `{"path":"spike/system/acl","values":{"k":"v"}}`, 400, bad)
	b.want(superuser, path, `{"path":"a","values":{"k":"v"},"future":[1,{}]}`, 200, `{}`)
	b.want(superuser, path+"?action=list", ` { } `, 200, `{"keys":["a","a/b","pairs"]}`)
	b.want("spiffe://spike.ist/web", path+"?action=get", `{"path":"a/b"}`, 401, `{"data":null,"err":"access_unauthorized"}`)
	b.want("spiffe://spike.ist/web", path+"?action=get", `{"path":"nothing"}`, 401, `{"data":null,"err":"access_unauthorized"}`)
	b.want("spiffe://spike.ist/web", path+"?action=list", `{}`, 401, `{"keys":null,"err":"access_unauthorized"}`)
	b.want("spiffe://spike.ist/web", path, `{"path":"/bad","values":{"k":"v"}}`, 401, `{"err":"access_unauthorized"}`)

	b.want(superuser, path+"?action=list", `{"prefix":"a/","limit":1}`, 200, `{"keys":["a/b"]}`)
	b.want(superuser, path+"?action=list", `{"after":"a"}`, 200, `{"keys":["a/b","pairs"]}`)
	b.want(superuser, path+"?action=list", `{"limit":-1}`, 400, `{"keys":null,"err":"api_bad_request"}`)

	b.want(superuser, path+"?action=delete", `{"path":"a/b","versions":[0]}`, 200, `{}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b"}`, 404, `{"data":null,"err":"api_not_found"}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b","version":1}`, 200, `{"data":{"k":"<v>&\"é\n"}}`)
	b.want(superuser, path+"?action=undelete", `{"path":"a/b","versions":[2,77,-1]}`, 200, `{}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b"}`, 200, `{"data":{"k":"2"}}`)
	b.want(superuser, path+"?action=delete", `{"path":"nothing","versions":[]}`, 404, `{"err":"api_not_found"}`)
	b.want(superuser, path+"?action=destroy", `{"path":"a/b","versions":[]}`, 400, bad)
	b.want(superuser, path+"?action=destroy", `{"path":"a/b","versions":[1]}`, 200, `{}`)
	b.want(superuser, path+"?action=get", `{"path":"a/b","version":1}`, 404, `{"data":null,"err":"api_not_found"}`)
	const zero = `"metadata":{"currentVersion":0,"oldestVersion":0,"createdTime":"0001-01-01T00:00:00Z","updatedTime":"0001-01-01T00:00:00Z","maxVersions":0}`
	b.want(superuser, path+"/metadata?action=get", `{"path":"nothing"}`, 404, `{`+zero+`,"err":"api_not_found"}`)
	b.want("spiffe://spike.ist/web", path+"/metadata?action=get", `{"path":"a/b"}`, 401, `{`+zero+`,"err":"access_unauthorized"}`)
	metadata := b.do(superuser, http.MethodPost, path+"/metadata?action=get", `{"path":"a/b"}`).Body.String()
	form := regexp.MustCompile(`^\{"versions":\{"2":\{"createdTime":"T","version":2,"deletedTime":null\}\},` +
		`"metadata":\{"currentVersion":2,"oldestVersion":2,"createdTime":"T","updatedTime":"T","maxVersions":10\}\}$`)
	if plain := regexp.MustCompile(`20\d\d-\d\d-\d\dT[\d:.]+Z`).ReplaceAllString(metadata, "T"); !form.MatchString(plain) {
		t.Errorf("metadata: %s", metadata)
	}

	for _, target := range []string{
		"/", "/v1", path + "/", path + "?action=steal", path + "?action=GET", path + "?action=get%20",
		"/v1/operator/init?action=get", path + "?%zz", "//v1/store/secrets",
	} {
		b.want(superuser, target, `{}`, 400, bad)
	}
	b.want(superuser, path+"?x=1&action=list", `{}`, 200, `{"keys":["a","a/b","pairs"]}`)
	for _, method := range []string{"GET", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"} {
		if w := b.do(superuser, method, path+"?action=list", "{}"); w.Code != 400 {
			t.Errorf("%s: got %d", method, w.Code)
		}
	}
}

func TestPoliciesOnTheWire(t *testing.T) {
	b := newBench(t, true)
	const path, bad = "/v1/acl/policy", `{"id":"","err":"api_bad_request"}`
	const web = "spiffe://spike.ist/web"
	b.want(superuser, path+"?action=list", `{}`, 200, `{"policies":[]}`)
	b.want(superuser, path, `{"name":"web read","spiffeidPattern":"^spiffe://spike\\.ist/web$","pathPattern":"^web/.*$","permissions":["read","list"]}`, 200, `{"id":"web read"}`)
	b.want(superuser, path, `{"name":"b","spiffeidPattern":"^x$","pathPattern":"^y$","permissions":["super"]}`, 200, `{"id":"b"}`)
	b.want(superuser, path+"?action=list", `{"spiffeidPattern":"","pathPattern":""}`, 200, `{"policies":[{"id":"b","name":"b"},{"id":"web read","name":"web read"}]}`)
	b.want(superuser, path+"?action=list", `{"pathPattern":"^y$"}`, 200, `{"policies":[{"id":"b","name":"b"}]}`)
	got := b.do(superuser, http.MethodPost, path+"?action=get", `{"id":"web read"}`).Body.String()
	want := `{"id":"web read","name":"web read","spiffeidPattern":"^spiffe://spike\\.ist/web$","spiffiedPattern":"^spiffe://spike\\.ist/web$",` +
		`"pathPattern":"^web/.*$","permissions":["read","list"],"createdAt":"T","updatedAt":"T"}`
	if plain := regexp.MustCompile(`20\d\d-\d\d-\d\dT[\d:.]+Z`).ReplaceAllString(got, "T"); plain != want {
		t.Errorf("got  %s\nwant %s", plain, want)
	}
	b.want(superuser, "/v1/store/secrets", `{"path":"web/a","values":{"k":"v"}}`, 200, `{}`)
	b.want(superuser, "/v1/store/secrets", `{"path":"other","values":{"k":"v"}}`, 200, `{}`)
	b.want(web, "/v1/store/secrets?action=get", `{"path":"web/a"}`, 200, `{"data":{"k":"v"}}`)
	b.want(web, "/v1/store/secrets?action=list", `{}`, 200, `{"keys":["web/a"]}`)
	b.want(web, "/v1/store/secrets", `{"path":"web/a","values":{"k":"v"}}`, 401, `{"err":"access_unauthorized"}`)
	b.want(web, path+"?action=list", `{}`, 401, `{"policies":null,"err":"access_unauthorized"}`)
	const zero = `{"id":"","name":"","spiffeidPattern":"","spiffiedPattern":"","pathPattern":"","permissions":null,` +
		`"createdAt":"0001-01-01T00:00:00Z","updatedAt":"0001-01-01T00:00:00Z","err":`
	b.want(web, path+"?action=get", `{"id":"b"}`, 401, zero+`"access_unauthorized"}`)
	b.want(superuser, path+"?action=get", `{"id":"none"}`, 404, zero+`"api_not_found"}`)
	b.want(superuser, path+"?action=get", `{"id":"a/b"}`, 400, zero+`"api_bad_request"}`)
	for _, body := range []string{
		`{"name":"p","spiffeidPattern":"x","pathPattern":"^y$","permissions":["read"]}`,
		`{"name":"p","spiffeidPattern":"^x$","pathPattern":"^y$","permissions":[]}`,
		`{"name":"p","spiffeidPattern":"^x$","pathPattern":"^y$","permissions":["x"]}`,
		`{"name":"p.q","spiffeidPattern":"^x$","pathPattern":"^y$","permissions":["read"]}`,
	} {
		b.want(superuser, path, body, 400, bad)
	}
	b.want(superuser, path+"?action=delete", `{"id":"web read"}`, 200, `{}`)
	b.want(superuser, path+"?action=delete", `{"id":"web read"}`, 404, `{"err":"api_not_found"}`)
	b.want(web, "/v1/store/secrets?action=get", `{"path":"web/a"}`, 401, `{"data":null,"err":"access_unauthorized"}`)
}

func TestCipherOnTheWire(t *testing.T) {
	b := newBench(t, true)
	const lite = "spiffe://spike.ist/spike/workload/role/lite"
	const encrypt, decrypt = "/v1/cipher/encrypt", "/v1/cipher/decrypt"
	w := b.do(lite, http.MethodPost, encrypt, `{"plaintext":"aGVsbG8=","algorithm":""}`)
	var out api.CipherEncryptResponse
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 || out.Version != 1 || len(out.Nonce) != 12 || len(out.Ciphertext) != 5+16 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	b.want(lite, decrypt, w.Body.String(), 200, `{"plaintext":"aGVsbG8="}`)
	b.want(superuser, decrypt, w.Body.String(), 200, `{"plaintext":"aGVsbG8="}`)
	b.want("spiffe://spike.ist/web", decrypt, w.Body.String(), 401, `{"plaintext":null,"err":"access_unauthorized"}`)
	b.want("spiffe://spike.ist/web", encrypt, `{"plaintext":"aGVsbG8="}`, 401, `{"version":0,"nonce":null,"ciphertext":null,"err":"access_unauthorized"}`)
	const bad, refused = `{"version":0,"nonce":null,"ciphertext":null,"err":"api_bad_request"}`, `{"plaintext":null,"err":"api_bad_request"}`
	b.want(lite, encrypt, `{}`, 400, bad)
	b.want(lite, encrypt, `{"plaintext":"!"}`, 400, bad)
	b.want(lite, encrypt, `{"plaintext":"aGVsbG8=","algorithm":"ROT13"}`, 400, bad)
	b.want(lite, encrypt, `{"plaintext":"`+strings.Repeat("AAAA", 1009/3+1)+`"}`, 400, bad)
	b.want(lite, encrypt, `{"plaintext":"`+strings.Repeat("A", 9000)+`"}`, 400, bad)
	empty := b.do(lite, http.MethodPost, encrypt, `{"plaintext":""}`)
	b.want(lite, decrypt, empty.Body.String(), 200, `{"plaintext":""}`)
	for _, change := range []func(*api.CipherEncryptResponse){
		func(r *api.CipherEncryptResponse) { r.Version = 2 },
		func(r *api.CipherEncryptResponse) { r.Nonce = r.Nonce[1:] },
		func(r *api.CipherEncryptResponse) { r.Nonce = append(bytes.Clone(r.Nonce), 0) },
		func(r *api.CipherEncryptResponse) { r.Ciphertext = bytes.Repeat([]byte{1}, 21) },
		func(r *api.CipherEncryptResponse) { r.Ciphertext = nil },
	} {
		spoiled := out
		change(&spoiled)
		body, err := json.Marshal(spoiled)
		if err != nil {
			t.Fatal(err)
		}
		b.want(lite, decrypt, string(body), 400, refused)
	}

	stream := func(id, target, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/octet-stream")
		return b.send(id, r)
	}
	sealed := stream(lite, encrypt, "hello")
	if sealed.Code != 200 || sealed.Body.Len() != 1+12+5+16 || sealed.Body.Bytes()[0] != 1 || sealed.Header().Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("got %d %x", sealed.Code, sealed.Body)
	}
	if back := stream(lite, decrypt, sealed.Body.String()); back.Code != 200 || back.Body.String() != "hello" {
		t.Errorf("got %d %s", back.Code, back.Body)
	}
	// Both forms are of one service.
	body, err := json.Marshal(api.CipherDecryptRequest{Version: 1, Nonce: sealed.Body.Bytes()[1:13], Ciphertext: sealed.Body.Bytes()[13:]})
	if err != nil {
		t.Fatal(err)
	}
	b.want(lite, decrypt, string(body), 200, `{"plaintext":"aGVsbG8="}`)
	for _, c := range []struct {
		id, target, body string
		status           int
	}{
		{lite, encrypt, "", 400}, {lite, decrypt, "", 400}, {lite, decrypt, "\x01short", 400}, {lite, decrypt, sealed.Body.String()[:20], 400},
		{lite, decrypt, "\x02" + sealed.Body.String()[1:], 400}, {lite, encrypt, strings.Repeat("x", 1009), 400}, {lite, encrypt, strings.Repeat("x", 1008), 200},
		{"spiffe://spike.ist/web", encrypt, "x", 401}, {"spiffe://spike.ist/web", decrypt, "x", 401},
	} {
		got := stream(c.id, c.target, c.body)
		if got.Code != c.status || c.status != 200 && got.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %.20q: got %d %s", c.target, c.body, got.Code, got.Body)
		}
	}
}

// TestWithoutSecrets: a store that keeps no secrets has no routes for them.
func TestWithoutSecrets(t *testing.T) {
	b := newBench(t, true)
	b.serve = server.New(server.Config{
		Vault: b.vault, Roles: role.Domains{Pilot: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}},
		Log: slog.New(slog.DiscardHandler), MaxCiphertext: 1024, NoSecrets: true,
	})
	for _, route := range server.Routes() {
		if strings.HasPrefix(route.Path, "/v1/store/") || strings.HasPrefix(route.Path, "/v1/acl/") {
			b.want(superuser, route.Path+"?action="+route.Action, `{"path":"a","values":{"k":"v"}}`, 400, `{"err":"api_bad_request"}`)
		}
	}
	if w := b.do(superuser, http.MethodPost, "/v1/cipher/encrypt", `{"plaintext":"AA=="}`); w.Code != 200 {
		t.Errorf("encrypt: got %d %s", w.Code, w.Body)
	}
}

func TestBadBodies(t *testing.T) {
	b := newBench(t, true)
	for _, body := range []string{
		"", " ", "null", "[]", `"x"`, "1", "{", `{"path":"a"`, `{"path":"a"}{}`, `{"path":"a"} x`,
		`{"path":1}`, `{"path":"a","version":"1"}`, `{"path":"a","version":1.5}`, "{\"path\":\"\xff\"}",
		`{"path":"a\ud800"}`, `{"path":"a\udc00\ud800"}`, `{"path":"a\ud800\u0041"}`, `{"path":"\\\ud800x"}`,
		`{"path":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		// Malformed is malformed, whoever sends it.
		for _, id := range []string{superuser, "spiffe://spike.ist/web"} {
			b.want(id, "/v1/store/secrets?action=get", body, 400, `{"data":null,"err":"api_bad_request"}`)
		}
	}
	for _, body := range []string{
		`{"path":"a","values":null}`, `{"path":"a","values":[]}`, `{"path":"a","values":{"k":1}}`,
		`{"path":"a","values":{"k":null}}`, `{"path":"a","values":{"k":"canary-value"},}`,
		`{"path":"a","values":{"k":["canary-value"]}}`, `{"path":"a","values":"canary-value"}`,
		"{\"path\":\"a\",\"values\":{\"k\":\"canary-value\xff\"}}",
	} {
		b.want(superuser, "/v1/store/secrets", body, 400, `{"err":"api_bad_request"}`)
	}
	if strings.Contains(b.log.String(), "canary") {
		t.Errorf("the log repeats what was sent:\n%s", b.log.String())
	}
}

type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	e.sent += len(p)
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestLargeBodies(t *testing.T) {
	b := newBench(t, true)
	value := strings.Repeat("x", 7<<20)
	b.want(superuser, "/v1/store/secrets", `{"path":"big","values":{"k":"`+value+`"}}`, 200, `{}`)
	b.want(superuser, "/v1/store/secrets?action=get", `{"path":"big"}`, 200, `{"data":{"k":"`+value+`"}}`)

	body := &endless{}
	r := httptest.NewRequest(http.MethodPost, "/v1/store/secrets", body)
	r.ContentLength = -1
	if w := b.send(superuser, r); w.Code != 400 || body.sent > 9<<20 {
		t.Errorf("an endless body: %d after %d bytes", w.Code, body.sent)
	}
	body = &endless{}
	r = httptest.NewRequest(http.MethodPost, "/v1/store/secrets", body)
	r.ContentLength = 1 << 30
	if w := b.send(superuser, r); w.Code != 400 || body.sent > 0 {
		t.Errorf("an announced 1 GB: %d after %d bytes", w.Code, body.sent)
	}
}

// slowBody sends some bytes and then nothing until it is closed.
type slowBody struct {
	first  io.Reader
	closed chan struct{}
}

func (s *slowBody) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, io.ErrUnexpectedEOF
}

// TestStalledBodiesHoldNobodyUp: one identity with as many stalled large bodies
// as it likes has one share of the room, and the others go on.
func TestStalledBodiesHoldNobodyUp(t *testing.T) {
	b := newBench(t, true)
	closed := make(chan struct{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-closed
				cancel()
			}()
			r := httptest.NewRequest(http.MethodPost, "/v1/store/secrets", &slowBody{strings.NewReader(strings.Repeat(" ", 300<<10)), closed})
			r.ContentLength = 8 << 20
			b.send("spiffe://spike.ist/stranger", r.WithContext(ctx))
		})
	}
	for range 3 {
		b.want(superuser, "/v1/store/secrets", `{"path":"big","values":{"k":"`+strings.Repeat("x", 400<<10)+`"}}`, 200, `{}`)
	}
	close(closed)
	wg.Wait()
}

// TestOneIdentityHasManyBodies: the replicas of a service share an identity, and one
// that stalls does not hold the others up.
func TestOneIdentityHasManyBodies(t *testing.T) {
	b := newBench(t, true)
	closed := make(chan struct{})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 20 {
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "/v1/store/secrets", &slowBody{strings.NewReader(strings.Repeat(" ", 17<<10)), closed})
			r.ContentLength = 100 << 10
			b.send(superuser, r.WithContext(ctx))
		})
	}
	b.want(superuser, "/v1/store/secrets", `{"path":"big","values":{"k":"`+strings.Repeat("x", 400<<10)+`"}}`, 200, `{}`)
	cancel()
	close(closed)
	wg.Wait()
}

func TestAPanicIsAnInternalError(t *testing.T) {
	b := newBench(t, true)
	b.serve = server.New(server.Config{
		Vault: b.vault, Operator: nil, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		Roles: role.Domains{Pilot: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}},
	})
	b.want(superuser, "/v1/operator/status", `{}`, 500, `{"err":"api_internal_error"}`)
	if !strings.Contains(b.log.String(), "a request panicked") {
		t.Errorf("the log says nothing of it: %s", b.log.String())
	}
}

// faulty is an operator that decides, and then has a fault.
type faulty struct {
	server.Operator
	vault *vault.Vault
}

func (f faulty) Status(ctx context.Context, caller vault.Caller) (res api.OperatorStatusResponse, err error) {
	if _, err := f.vault.Begin(ctx, caller, vault.OpOperatorStatus); err != nil {
		return res, err
	}
	panic("a fault")
}

// TestAPanicIsAudited: what was decided is in the audit log, also if it was not done.
func TestAPanicIsAudited(t *testing.T) {
	b := newBench(t, true)
	b.serve = server.New(server.Config{
		Vault: b.vault, Operator: faulty{vault: b.vault}, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		Roles: role.Domains{Pilot: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}},
	})
	b.audit = nil
	b.want(superuser, "/v1/operator/status", `{}`, 500, `{"err":"api_internal_error"}`)
	if len(b.audit) != 1 || !b.audit[0].Allowed || b.audit[0].Operation != vault.OpOperatorStatus || b.audit[0].Result != "api_internal_error" {
		t.Errorf("the audit log has %+v", b.audit)
	}
	// One that was done, and one that was refused, have their line already.
	b.audit = nil
	b.want(superuser, "/v1/store/secrets?action=list", `{}`, 200, `{"keys":[]}`)
	b.want("spiffe://spike.ist/web", "/v1/operator/status", `{}`, 401, `{"err":"access_unauthorized"}`)
	if len(b.audit) != 2 {
		t.Errorf("the audit log has %+v", b.audit)
	}
}

func TestHeaders(t *testing.T) {
	b := newBench(t, true)
	seen := map[string]bool{}
	for _, target := range []string{"/v1/store/secrets?action=list", "/nowhere", "/v1/store/secrets?action=get"} {
		w := b.do(superuser, http.MethodPost, target, `{}`)
		for name, want := range map[string]string{
			"Content-Type": "application/json", "Pragma": "no-cache", "Expires": "0",
			"Cache-Control": "no-store, no-cache, must-revalidate, private",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		seen[w.Header().Get(api.RequestIDHeader)] = true
	}
	if len(seen) != 3 || seen[""] {
		t.Errorf("request ids: %v", seen)
	}
}

func TestWithoutRootKey(t *testing.T) {
	b := newBench(t, false)
	for _, id := range []string{superuser, "spiffe://spike.ist/web"} {
		b.want(id, "/v1/store/secrets?action=get", `{"path":"a"}`, 503, `{"data":null,"err":"state_not_ready"}`)
		b.want(id, "/v1/store/secrets", `{"path":"/bad"}`, 503, `{"err":"state_not_ready"}`)
		b.want(id, "/v1/store/secrets", `{"path":`, 400, `{"err":"api_bad_request"}`)
	}
	// This backend has no root key to bring.
	b.want(superuser, "/v1/operator/init", `{}`, 400, `{"err":"backend_has_no_root_key"}`)
	b.want("spiffe://spike.ist/spike/pilot/role/recover", "/v1/operator/recover", `{}`, 400, `{"shards":null,"err":"backend_has_no_root_key"}`)
	b.want(superuser, "/v1/operator/recover", `{}`, 401, `{"shards":null,"err":"access_unauthorized"}`)
	b.want("spiffe://spike.ist/web", "/v1/operator/status", `{}`, 401, `{"err":"access_unauthorized"}`)
}

// TestEveryRouteIsDecidedAndAudited walks the list of routes: none is served
// without one line in the audit log.
func TestEveryRouteIsDecidedAndAudited(t *testing.T) {
	bodies := map[string]string{
		"/v1/store/secrets?":    `{"path":"a","values":{"k":"v"}}`,
		"/v1/store/secrets?get": `{"path":"a"}`,
		"/v1/acl/policy?":       `{"name":"p","spiffeidPattern":"^x$","pathPattern":"^y$","permissions":["read"]}`,
		"/v1/acl/policy?get":    `{"id":"p"}`,
		"/v1/acl/policy?delete": `{"id":"p"}`,
		"/v1/cipher/encrypt?":   `{"plaintext":"AA=="}`,
		"/v1/operator/restore?": `{"id":1,"shard":[` + strings.TrimSuffix(strings.Repeat("1,", 32), ",") + `]}`,
	}
	everyone := []string{
		superuser, "spiffe://spike.ist/web", "spiffe://spike.ist/spike/nexus", "spiffe://spike.ist/spike/keeper",
		"spiffe://spike.ist/spike/pilot/role/recover", "spiffe://spike.ist/spike/pilot/role/restore",
	}
	b := newBench(t, true)
	operations := map[vault.Operation]bool{}
	for _, route := range server.Routes() {
		body := bodies[route.Path+"?"+route.Action]
		if body == "" {
			body = "{}"
		}
		allowed := 0
		for _, id := range everyone {
			b.audit = nil
			if strings.HasPrefix(route.Path, "/v1/cipher/") {
				r := httptest.NewRequest(http.MethodPost, route.Path, strings.NewReader("bytes"))
				r.Header.Set("Content-Type", api.OctetStream)
				if b.send(id, r); len(b.audit) != 1 || b.audit[0].Caller != id {
					t.Errorf("a stream to %s by %s: %d audit lines", route.Path, id, len(b.audit))
				}
				b.audit = nil
			}
			w := b.do(id, http.MethodPost, route.Path+"?action="+route.Action, body)
			if len(b.audit) != 1 {
				t.Fatalf("%s %s by %s: %d audit lines", route.Path, route.Action, id, len(b.audit))
			}
			line := b.audit[0]
			if line.Caller != id || line.Request != w.Header().Get(api.RequestIDHeader) || line.Allowed == (w.Code == 401) {
				t.Errorf("%s by %s: answered %d, audited as %+v", route.Path, id, w.Code, line)
			}
			operations[line.Operation] = true
			if line.Allowed {
				allowed++
			}
		}
		if allowed != 1 {
			t.Errorf("%s %s: %d of %d identities may", route.Path, route.Action, allowed, len(everyone))
		}
	}
	if len(operations) != len(server.Routes()) {
		t.Errorf("%d routes are %d operations: %v", len(server.Routes()), len(operations), maps.Keys(operations))
	}
}

func TestACallerWithoutIdentityIsNobody(t *testing.T) {
	b := newBench(t, true)
	b.want("", "/v1/store/secrets?action=list", `{}`, 401, `{"err":"access_unauthorized"}`)
}

func FuzzRequests(f *testing.F) {
	for _, body := range []string{`{"path":"a","values":{"k":"v"}}`, `{"path":"a","version":-1}`, `{"id":1,"shard":[1]}`, "null", "\xff"} {
		for i := range server.Routes() {
			f.Add(i, body)
		}
	}
	f.Fuzz(func(t *testing.T, n int, body string) {
		b := newBench(t, true)
		routes := server.Routes()
		route := routes[(n%len(routes)+len(routes))%len(routes)]
		w := b.do(superuser, http.MethodPost, route.Path+"?action="+route.Action, body)
		var answer struct {
			Err api.Code `json:"err"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("the answer is not JSON: %s", w.Body)
		}
		err := api.FromWire(w.Code, answer.Err)
		if (w.Code == 200) != (err == nil) || errors.Is(err, api.ErrInternal) {
			t.Errorf("%s %q: %d %s", route.Path, body, w.Code, w.Body)
		}
	})
}
