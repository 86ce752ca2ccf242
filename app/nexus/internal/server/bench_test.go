package server_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
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

// BenchmarkRead is a read by a workload under a policy, audited to a file,
// without TLS and net/http around it. "ceiling" only decodes the request.
func BenchmarkRead(b *testing.B) {
	file, err := os.Create(b.TempDir() + "/audit.log")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	v, err := vault.New(b.Context(), vault.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler), Audit: audit.New(file).Write})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	birth, err := vault.NewBirth(nil, 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer birth.Destroy()
	if err := v.Create(b.Context(), birth); err != nil {
		b.Fatal(err)
	}
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	s := server.New(server.Config{
		Vault: v, Roles: role.Domains{Trusted: td, Pilot: td}, Log: slog.New(slog.DiscardHandler),
		Operator: rootkey.New(rootkey.Config{Vault: v, Log: slog.New(slog.DiscardHandler)}),
	})
	admin := vault.Caller{ID: superuser, Role: role.Superuser}
	if _, err := v.PutSecret(b.Context(), admin, &api.SecretPutRequest{Path: "web/db/17", Values: api.Values{"password": strings.Repeat("x", 64)}}); err != nil {
		b.Fatal(err)
	}
	if err := v.PutPolicy(b.Context(), admin, &api.PolicyPutRequest{Name: "p", SPIFFEIDPattern: `^spiffe://spike\.ist/web$`, PathPattern: `^web/.*$`, Permissions: []string{"read"}}); err != nil {
		b.Fatal(err)
	}
	const body = `{"path":"web/db/17","version":0}`
	bench := func(name string, h http.Handler) {
		b.Run(name, func(b *testing.B) {
			ctx := mtls.WithPeerID(b.Context(), spiffeid.RequireFromString("spiffe://spike.ist/web"))
			target, err := url.Parse("/v1/store/secrets?action=get")
			if err != nil {
				b.Fatal(err)
			}
			w := &nowhere{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				r := (&http.Request{Method: http.MethodPost, URL: target, ContentLength: int64(len(body)), Header: http.Header{},
					Body: io.NopCloser(strings.NewReader(body))}).WithContext(ctx)
				h.ServeHTTP(w, r)
			}
		})
	}
	constant := []byte(`{"data":{"password":"` + strings.Repeat("x", 64) + `"}}`)
	bench("ceiling", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req api.SecretGetRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(constant); err != nil {
			b.Error(err)
		}
	}))
	bench("nexus", s)
}
