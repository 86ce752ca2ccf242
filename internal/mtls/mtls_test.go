package mtls_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server that answers with its caller's SPIFFE ID.
func serve(t *testing.T, source *identitytest.Source, change func(*mtls.ServerConfig)) string {
	t.Helper()
	config := mtls.ServerConfig{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, ok := mtls.PeerID(r.Context())
			if !ok {
				w.WriteHeader(http.StatusTeapot)
			}
			_, _ = fmt.Fprint(w, id)
		}),
		SVID: source, Bundles: source,
		Accept: func(id spiffeid.ID) bool { return !strings.HasSuffix(id.Path(), "/refused") },
		Log:    slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := mtls.NewServer(config)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		// net/http gives a connection that has sent nothing yet five seconds.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + l.Addr().String()
}

func client(t *testing.T, source *identitytest.Source) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: mtls.ClientConfig(source, source, func(id spiffeid.ID) bool {
		return id.Path() == "/server"
	})}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func get(c *http.Client, url string) (body string, closing bool, err error) {
	res, err := c.Get(url)
	if err != nil {
		return "", false, err
	}
	b, err := io.ReadAll(res.Body)
	return string(b), res.Close, errors.Join(err, res.Body.Close())
}

func TestBothEndsKnowEachOther(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), nil)
	body, _, err := get(client(t, domain.Source("/alice")), url)
	if err != nil || body != "spiffe://spike.ist/alice" {
		t.Fatalf("got %q, %v", body, err)
	}
}

func TestRefusals(t *testing.T) {
	domain, twin := identitytest.NewDomain(t, "spike.ist"), identitytest.NewDomain(t, "spike.ist")
	away := identitytest.NewDomain(t, "away.example")
	url := serve(t, domain.Source("/server"), nil)
	impostor := serve(t, domain.Source("/impostor"), nil)

	expired := domain.Source("/alice")
	expired.Use(domain.SVID("/alice", -time.Minute))
	forged := domain.Source("/alice")
	forged.Use(twin.SVID("/alice", time.Hour))

	for name, c := range map[string]*http.Client{
		"expired":         client(t, expired),
		"forged":          client(t, forged),
		"of a foreign CA": client(t, away.Source("/alice", domain)),
		"not accepted":    client(t, domain.Source("/refused")),
		"distrusting":     client(t, twin.Source("/alice")),
	} {
		if body, _, err := get(c, url); err == nil {
			t.Errorf("%s: served %q", name, body)
		}
	}
	if _, _, err := get(client(t, domain.Source("/alice")), impostor); !errors.Is(err, mtls.ErrWrongPeer) {
		t.Errorf("impostor server: got %v", err)
	}
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if body, _, err := get(bare, url); err == nil {
		t.Errorf("without a certificate: served %q", body)
	}
}

func TestHTTP2IsOffered(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), nil)
	alice := client(t, domain.Source("/alice"))
	transport, ok := alice.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	transport.ForceAttemptHTTP2 = true
	res, err := alice.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if res.ProtoMajor != 2 {
		t.Errorf("got %s", res.Proto)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), nil)
	alice := domain.Source("/alice")
	config := mtls.ClientConfig(alice, alice, func(spiffeid.ID) bool { return true })
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if body, _, err := get(&http.Client{Transport: &http.Transport{TLSClientConfig: config}}, url); err == nil {
		t.Errorf("served %q over TLS 1.2", body)
	}
}

// TestOpenConnectionOfWithdrawnPeer keeps a connection open while the server's
// trust is withdrawn: the next request on it is refused.
func TestOpenConnectionOfWithdrawnPeer(t *testing.T) {
	domain, away := identitytest.NewDomain(t, "spike.ist"), identitytest.NewDomain(t, "away.example")
	server := domain.Source("/server", away)
	url := serve(t, server, nil)
	alice := client(t, away.Source("/alice", domain))
	if _, _, err := get(alice, url); err != nil {
		t.Fatal(err)
	}
	server.Trust(domain, away) // a new bundle that still trusts
	if _, _, err := get(alice, url); err != nil {
		t.Fatalf("refused though still trusted: %v", err)
	}
	server.Trust(domain)
	for range 2 {
		if body, _, err := get(alice, url); err == nil {
			t.Fatalf("served %q after trust was withdrawn", body)
		}
	}
}

func TestOpenConnectionOfExpiredPeer(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), nil)
	source := domain.Source("/alice")
	source.Use(domain.SVID("/alice", 4*time.Second)) // certificates count whole seconds: 3 to 4
	alice := client(t, source)
	if _, closing, err := get(alice, url); err != nil || closing {
		t.Fatalf("closing %v, %v", closing, err)
	}
	time.Sleep(2200 * time.Millisecond)
	if _, closing, err := get(alice, url); err != nil || !closing {
		t.Errorf("past half its life: closing %v, %v", closing, err)
	}
	time.Sleep(2 * time.Second)
	if body, _, err := get(alice, url); err == nil {
		t.Errorf("served %q after expiry", body)
	}
}

func TestSessionsAreNotResumed(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), nil)
	alice := domain.Source("/alice")
	config := mtls.ClientConfig(alice, alice, func(spiffeid.ID) bool { return true })
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for i := range 2 {
		transport := &http.Transport{TLSClientConfig: config}
		res, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if res.TLS.DidResume {
			t.Errorf("connection %d resumed a session", i)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	}
}

func TestMaximumAge(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxAge = time.Millisecond })
	alice := client(t, domain.Source("/alice"))
	time.Sleep(5 * time.Millisecond)
	var closings int
	for range 3 {
		_, closing, err := get(alice, url)
		if err != nil {
			t.Fatal(err)
		}
		if closing {
			closings++
		}
		time.Sleep(2 * time.Millisecond)
	}
	if closings == 0 {
		t.Error("no answer ended its connection")
	}
}

// TestCap leaves more idle connections behind than are allowed; each new caller
// is still served, and the oldest idle connection is the one that went.
func TestCap(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections = 32 })
	source := domain.Source("/alice")
	for i := range 96 {
		if _, _, err := get(client(t, source), url); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	// Silent TCP connections without a handshake do not keep callers out either.
	for range 64 {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if _, _, err := get(client(t, source), url); err != nil {
		t.Fatal(err)
	}
}
