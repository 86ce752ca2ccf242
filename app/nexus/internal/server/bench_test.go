package server_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/app/nexus/internal/audit"
	"github.com/spiffe/spike/app/nexus/internal/rootkey"
	"github.com/spiffe/spike/app/nexus/internal/server"
	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

// nowhere is a response that costs nothing.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (*nowhere) WriteHeader(int)               {}
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }

const (
	benchBody  = `{"path":"bench/app-042/key-000042","version":0}`
	benchValue = `{"data":{"value":"0123456789012345678901234567890123456789012345678901234567890123"}}`
)

// readers returns two handlers of reads: Nexus, with a secret, a policy and an audit
// log in a file, and the ceiling, which only decodes a request.
func readers(tb testing.TB) (nexus, ceiling http.Handler) {
	tb.Helper()
	file, err := os.Create(tb.TempDir() + "/audit.log")
	if err != nil {
		tb.Fatal(err)
	}
	v, err := vault.New(tb.Context(), vault.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler), Audit: audit.New(file).Write})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _, _ = v.Close(), file.Close() })
	birth, err := vault.NewBirth(nil, 0, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer birth.Destroy()
	if err := v.Create(tb.Context(), birth); err != nil {
		tb.Fatal(err)
	}
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	admin := vault.Caller{ID: superuser, Role: role.Superuser}
	if _, err := v.PutSecret(tb.Context(), admin, &api.SecretPutRequest{
		Path: "bench/app-042/key-000042", Values: api.Values{"value": benchValue[18 : 18+64]},
	}); err != nil {
		tb.Fatal(err)
	}
	if err := v.PutPolicy(tb.Context(), admin, &api.PolicyPutRequest{
		Name: "p", SPIFFEIDPattern: `^spiffe://spike\.ist/web$`, PathPattern: `^bench/.*$`, Permissions: []string{"read"},
	}); err != nil {
		tb.Fatal(err)
	}
	nexus = server.New(server.Config{
		Vault: v, Roles: role.Domains{Trusted: td, Pilot: td}, Log: slog.New(slog.DiscardHandler),
		Operator: rootkey.New(rootkey.Config{Vault: v, Log: slog.New(slog.DiscardHandler)}),
	})
	constant, contentType := []byte(benchValue), []string{"application/json"}
	return nexus, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req api.SecretGetRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			tb.Error(err)
		}
		w.Header()["Content-Type"] = contentType
		if _, err := w.Write(constant); err != nil {
			tb.Error(err)
		}
	})
}

// reading returns a function that sends a handler one read of a workload's.
func reading(tb testing.TB, h http.Handler, w http.ResponseWriter) func() {
	tb.Helper()
	ctx := mtls.WithPeerID(tb.Context(), spiffeid.RequireFromString("spiffe://spike.ist/web"))
	target, err := url.Parse("/v1/store/secrets?action=get")
	if err != nil {
		tb.Fatal(err)
	}
	r := (&http.Request{Method: http.MethodPost, URL: target, ContentLength: int64(len(benchBody)), Header: http.Header{}}).WithContext(ctx)
	body := strings.NewReader(benchBody)
	r.Body = io.NopCloser(body)
	return func() {
		body.Reset(benchBody)
		h.ServeHTTP(w, r)
	}
}

// BenchmarkRead is a read, without TLS and net/http around it.
func BenchmarkRead(b *testing.B) {
	nexus, ceiling := readers(b)
	for name, h := range map[string]http.Handler{"ceiling": ceiling, "nexus": nexus} {
		b.Run(name, func(b *testing.B) {
			read := reading(b, h, &nowhere{http.Header{}})
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
	}
}

// TestWhatAReadAllocates holds it near what decoding the request takes by itself:
// what is allocated must be collected, at everybody's cost.
func TestWhatAReadAllocates(t *testing.T) {
	nexus, ceiling := readers(t)
	answer := httptest.NewRecorder()
	reading(t, nexus, answer)()
	if answer.Code != http.StatusOK || answer.Body.String() != benchValue {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	least := testing.AllocsPerRun(1000, reading(t, ceiling, &nowhere{http.Header{}}))
	if got := testing.AllocsPerRun(1000, reading(t, nexus, &nowhere{http.Header{}})); got > 8 || got > least+3 {
		t.Errorf("a read allocates %v times, a decoder and a constant answer %v times", got, least)
	}
}
