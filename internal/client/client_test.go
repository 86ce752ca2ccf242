package client_test

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nexus is a server that proves to be one and answers with handler.
func nexus(t *testing.T, source *identitytest.Source, handler http.HandlerFunc) *url.URL {
	t.Helper()
	l := listen(t)
	server := mtls.NewServer(mtls.ServerConfig{
		Handler: handler, SVID: source, Bundles: source,
		Accept: func(id spiffeid.ID) bool { return id.Path() != "/stranger" },
		Log:    slog.New(slog.DiscardHandler),
	})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-done); err != nil {
			t.Error(err)
		}
	})
	return &url.URL{Scheme: "https", Host: l.Addr().String()}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, source *identitytest.Source, to *url.URL, timeout time.Duration) *client.Client {
	t.Helper()
	c := client.New(client.Config{
		URL: to, SVID: source, Bundles: source, Timeout: timeout,
		Expect: func(id spiffeid.ID) bool { return id.Path() == "/spike/nexus" },
	})
	t.Cleanup(c.Close)
	return c
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(api.RequestIDHeader, "r-17")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func list(ctx context.Context, c *client.Client) error {
	_, err := c.SecretList(ctx, api.SecretListRequest{})
	return err
}

// calls has every method, each with what it should have sent.
var calls = []struct {
	name, target, body string
	do                 func(context.Context, *client.Client) error
}{
	{"put", "/v1/store/secrets", `{"path":"a/b","values":{"k":"<&>"},"return":"version"}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.SecretPut(ctx, api.SecretPutRequest{
				Path: "a/b", Values: api.Values{"k": "<&>"}, Return: "version",
			})
			return err
		}},
	{"get", "/v1/store/secrets?action=get", `{"path":"a/b","version":3}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.SecretGet(ctx, "a/b", 3)
			return err
		}},
	{"put if it is new", "/v1/store/secrets", `{"path":"a/b","values":{"k":"v"},"cas":0}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.SecretPut(ctx, api.SecretPutRequest{Path: "a/b", Values: api.Values{"k": "v"}, CAS: new(int)})
			return err
		}},
	{"list", "/v1/store/secrets?action=list", `{}`, list},
	{"list a page", "/v1/store/secrets?action=list", `{"prefix":"a/","after":"a/b","limit":7}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.SecretList(ctx, api.SecretListRequest{Prefix: "a/", After: "a/b", Limit: 7})
			return err
		}},
	{"metadata", "/v1/store/secrets/metadata?action=get", `{"path":"a/b","version":3}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.SecretMetadata(ctx, "a/b", 3)
			return err
		}},
	{"delete the current version", "/v1/store/secrets?action=delete", `{"path":"a/b","versions":[]}`,
		func(ctx context.Context, c *client.Client) error { return c.SecretDelete(ctx, "a/b") }},
	{"delete", "/v1/store/secrets?action=delete", `{"path":"a/b","versions":[0,2]}`,
		func(ctx context.Context, c *client.Client) error { return c.SecretDelete(ctx, "a/b", 0, 2) }},
	{"undelete", "/v1/store/secrets?action=undelete", `{"path":"a/b","versions":[2]}`,
		func(ctx context.Context, c *client.Client) error { return c.SecretUndelete(ctx, "a/b", 2) }},
	{"destroy", "/v1/store/secrets?action=destroy", `{"path":"a/b","versions":[2]}`,
		func(ctx context.Context, c *client.Client) error { return c.SecretDestroy(ctx, "a/b", 2) }},
	{"init", "/v1/operator/init", `{}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.OperatorInit(ctx)
			return err
		}},
	{"accept", "/v1/operator/accept", `{"sequence":7}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.OperatorAccept(ctx, 7)
			return err
		}},
	{"replace Keepers", "/v1/operator/keeper", `{"replace":{"2":"https://new:8443"}}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.OperatorKeeper(ctx, map[int]string{2: "https://new:8443"})
			return err
		}},
	{"status", "/v1/operator/status", `{}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.OperatorStatus(ctx)
			return err
		}},
	{"recover", "/v1/operator/recover", `{}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.OperatorRecover(ctx)
			return err
		}},
	{"restore", "/v1/operator/restore", `{"id":2,"shard":[` + strings.Repeat("0,", 31) + `0],"strict":true}`,
		func(ctx context.Context, c *client.Client) error {
			_, err := c.OperatorRestore(ctx, api.OperatorRestoreRequest{ID: 2, Strict: true})
			return err
		}},
}

func TestWhatIsSent(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	var got string
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		got = fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Proto, " ", strings.TrimSpace(string(body)), err)
		_, _ = io.WriteString(w, `{"data":{},"versions":{"1":{}}}`)
	})
	c := dial(t, domain.Source("/alice"), to, 0)
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			if err := call.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if want := "POST " + call.target + " HTTP/1.1 " + call.body + "<nil>"; got != want {
				t.Errorf("sent %s, want %s", got, want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"bad request":      {400, `{"err":"api_bad_request"}`, api.ErrBadRequest},
		"denied":           {401, `{"data":null,"err":"access_unauthorized"}`, api.ErrUnauthorized},
		"not found":        {404, `{"err":"api_not_found"}`, api.ErrNotFound},
		"initialized":      {409, `{"err":"state_already_initialized"}`, api.ErrAlreadyInitialized},
		"holds share":      {409, `{"err":"keeper_holds_share"}`, api.ErrKeeperHoldsShare},
		"keeper away":      {409, `{"err":"keeper_unreachable"}`, api.ErrKeeperUnreachable},
		"foreign shard":    {400, `{"err":"shard_foreign"}`, api.ErrShardForeign},
		"internal":         {500, `{"err":"api_internal_error"}`, api.ErrInternal},
		"locked":           {503, `{"err":"state_not_ready"}`, api.ErrNotReady},
		"a new code":       {409, `{"err":"from_the_future"}`, api.ErrVersionConflict},
		"a strange status": {418, `{}`, api.ErrInternal},
		"an error as 200":  {200, `{"err":"api_not_found"}`, api.ErrNotFound},
		"not JSON":         {200, `<html>canary</html>`, client.ErrProtocol},
		"trailing data":    {200, `{"data":{}} {"canary":1}`, client.ErrProtocol},
		"wrong type":       {200, `{"data":{"k":["canary"]}}`, client.ErrProtocol},
		"no data":          {200, `{"data":null}`, client.ErrProtocol},
		"empty":            {200, ``, client.ErrProtocol},
		"text with status": {503, `canary`, client.ErrProtocol},
		"a redirect":       {307, `{}`, api.ErrInternal},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, domain.Source("/alice"), nexus(t, domain.Source("/spike/nexus"), answer(test.status, test.body)), 0)
			_, err := c.SecretGet(t.Context(), "a/b", 0)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			var failed *client.Error
			if !errors.As(err, &failed) || failed.Op != "secret get" {
				t.Errorf("got %#v", err)
			}
			if got := client.RequestID(fmt.Errorf("wrapped: %w", err)); got != "r-17" && name != "no data" {
				t.Errorf("request id %q", got)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error repeats the answer: %v", err)
			}
		})
	}
}

func TestRequestIDIsFitForTerminals(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	for _, bad := range []string{"a b", "\xc2\x9b31m", strings.Repeat("x", 129), ""} {
		to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, _ *http.Request) {
			w.Header()[api.RequestIDHeader] = []string{bad}
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"err":"api_not_found"}`)
		})
		_, err := dial(t, domain.Source("/alice"), to, 0).SecretGet(t.Context(), "a", 0)
		if got := client.RequestID(err); !errors.Is(err, api.ErrNotFound) || got != "" {
			t.Errorf("%q was taken as %q (%v)", bad, got, err)
		}
	}
}

func TestValuesAndShardsComeBack(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == api.PathSecret {
			_, _ = io.WriteString(w, `{"data":{"k":"v\u0000\ud83d\udd11"},"keys":["a","b"],"version":4,"new":1}`)
			return
		}
		res := api.OperatorRecoverResponse{Shards: map[int]shard.Value{1: {7}, 2: {9}}, Threshold: 2}
		if err := json.NewEncoder(w).Encode(res); err != nil {
			t.Error(err)
		}
	})
	c := dial(t, domain.Source("/alice"), to, 0)
	values, err := c.SecretGet(t.Context(), "a", 0)
	if err != nil || values["k"] != "v\x00🔑" {
		t.Errorf("get: %v", err)
	}
	keys, err := c.SecretList(t.Context(), api.SecretListRequest{})
	if err != nil || len(keys) != 2 {
		t.Errorf("list: %v %v", keys, err)
	}
	put, err := c.SecretPut(t.Context(), api.SecretPutRequest{Path: "a", Values: values})
	if err != nil || put.Version != 4 {
		t.Errorf("put: %+v %v", put, err)
	}
	res, err := c.OperatorRecover(t.Context())
	if err != nil || res.Shards[1] != (shard.Value{7}) || res.Shards[2] != (shard.Value{9}) {
		t.Errorf("recover: %v", err)
	}
}

func TestWhoIsAtTheOtherEnd(t *testing.T) {
	domain, away := identitytest.NewDomain(t, "spike.ist"), identitytest.NewDomain(t, "spike.ist")
	var served atomic.Bool
	handler := func(w http.ResponseWriter, _ *http.Request) {
		served.Store(true)
		_, _ = io.WriteString(w, `{}`)
	}
	plain := listen(t)
	web := &http.Server{Handler: http.HandlerFunc(handler), ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- web.Serve(plain) }()
	t.Cleanup(func() {
		_ = web.Close()
		<-done
	})

	for name, test := range map[string]struct {
		to     *url.URL
		source *identitytest.Source
		want   []error
	}{
		"an impostor": {nexus(t, domain.Source("/spike/keeper"), handler), domain.Source("/alice"),
			[]error{client.ErrUntrusted, mtls.ErrWrongPeer}},
		"another authority": {nexus(t, away.Source("/spike/nexus"), handler), domain.Source("/alice"),
			[]error{client.ErrUntrusted}},
		"no TLS": {&url.URL{Scheme: "https", Host: plain.Addr().String()}, domain.Source("/alice"),
			[]error{client.ErrUntrusted}},
		"not let in": {nexus(t, domain.Source("/spike/nexus"), handler), domain.Source("/stranger"),
			[]error{client.ErrRefused}},
	} {
		t.Run(name, func(t *testing.T) {
			err := list(t.Context(), dial(t, test.source, test.to, 0))
			for _, want := range test.want {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
		})
	}
	if served.Load() {
		t.Error("a request was served")
	}
}

func TestUnreachable(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, domain.Source("/alice"), &url.URL{Scheme: "https", Host: l.Addr().String()}, 0)
	for _, call := range calls {
		if err := call.do(t.Context(), c); !errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrUnanswered) {
			t.Errorf("%s: got %v", call.name, err)
		}
	}
}

// TestHung has a server that accepts and then says nothing, before the
// handshake, after the request, and in the middle of the answer.
func TestHung(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	silent := listen(t) // the kernel accepts for it
	t.Cleanup(func() { _ = silent.Close() })
	hang := func(started string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			// A server notices that a client left only once it has read everything.
			_, _ = io.ReadAll(r.Body)
			if started != "" {
				_, _ = io.WriteString(w, started)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}
	}
	for name, test := range map[string]struct {
		to   *url.URL
		sent bool
	}{
		"before the handshake": {&url.URL{Scheme: "https", Host: silent.Addr().String()}, false},
		"after the request":    {nexus(t, domain.Source("/spike/nexus"), hang("")), true},
		"in the middle of it":  {nexus(t, domain.Source("/spike/nexus"), hang(`{"keys":[`)), true},
	} {
		t.Run(name, func(t *testing.T) {
			err := list(t.Context(), dial(t, domain.Source("/alice"), test.to, 300*time.Millisecond))
			if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if errors.Is(err, client.ErrUnanswered) != test.sent {
				t.Errorf("sent %v: got %v", test.sent, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			err = list(ctx, dial(t, domain.Source("/alice"), test.to, 10*time.Second))
			if !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
				t.Errorf("a caller that gave up got %v", err)
			}
		})
	}
}

func TestConnectionLost(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	to := nexus(t, domain.Source("/spike/nexus"), func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		panic(http.ErrAbortHandler)
	})
	_, err := dial(t, domain.Source("/alice"), to, 0).OperatorInit(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, client.ErrUnanswered) {
		t.Errorf("got %v", err)
	}
}

func TestAnswerTooLarge(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte(" "), 1<<20)
		for range 80 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if err := list(t.Context(), dial(t, domain.Source("/alice"), to, 0)); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

func TestUnsendable(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	var served atomic.Bool
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, _ *http.Request) {
		served.Store(true)
		_, _ = io.WriteString(w, `{}`)
	})
	c := dial(t, domain.Source("/alice"), to, 0)
	for name, values := range map[string]api.Values{
		"too large":       {"k": strings.Repeat("x", api.MaxBody)},
		"value not UTF-8": {"k": "a\xff"},
		"key not UTF-8":   {"\xff": "a"},
	} {
		_, err := c.SecretPut(t.Context(), api.SecretPutRequest{Path: "a", Values: values})
		if !errors.Is(err, client.ErrUnsendable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if served.Load() {
		t.Error("something was sent")
	}
	// Characters that HTML would want escaped count as they are.
	fits := api.Values{"k": strings.Repeat("<", api.MaxBody-100)}
	if _, err := c.SecretPut(t.Context(), api.SecretPutRequest{Path: "a", Values: fits}); err != nil {
		t.Error(err)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	peers := map[string]bool{}
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
		peers[r.RemoteAddr] = true
		_, _ = io.WriteString(w, `{"keys":[]}`)
	})
	c := dial(t, domain.Source("/alice"), to, 0)
	for range 5 {
		if err := list(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if len(peers) != 1 {
		t.Errorf("%d connections for five calls", len(peers))
	}
}
