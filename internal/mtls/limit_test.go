package mtls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
)

// post sends a POST, as Go's transport does not repeat one, and tells whether it
// went over a connection that was there already.
func post(c *http.Client, url string) (reused bool, err error) {
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		return false, err
	}
	res, err := c.Do(req)
	if err != nil {
		return reused, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return reused, errors.Join(err, res.Body.Close())
}

// held is a handler whose requests to /hold do not end before release.
type held struct {
	begun   chan struct{}
	release func()
	handler http.Handler
}

func newHeld(t *testing.T) held {
	over := make(chan struct{})
	h := held{begun: make(chan struct{}, 1000), release: sync.OnceFunc(func() { close(over) })}
	h.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			h.begun <- struct{}{}
			<-over
		}
	})
	t.Cleanup(h.release)
	return h
}

// counted makes a client count what it dials.
func counted(t *testing.T, c *http.Client) *atomic.Int32 {
	t.Helper()
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	dials := &atomic.Int32{}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return dials
}

func overHTTP2(t *testing.T, c *http.Client) *http.Client {
	t.Helper()
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	transport.ForceAttemptHTTP2 = true
	return c
}

// TestActiveShare: an identity that keeps its connections busy gets a quarter of
// them, and the others get theirs.
func TestActiveShare(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	h := newHeld(t)
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections, c.Handler = 16, h.handler })
	source := domain.Source("/hog")
	var wg sync.WaitGroup
	defer wg.Wait()
	defer h.release()
	for range 4 {
		c := client(t, source)
		wg.Go(func() {
			if _, err := post(c, url+"/hold"); err != nil {
				t.Error(err)
			}
		})
		<-h.begun
	}
	if _, err := post(client(t, source), url); err == nil {
		t.Error("a fifth connection of 16")
	}
	for _, path := range []string{"/alice", "/bob"} {
		if _, err := post(client(t, domain.Source(path)), url); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	h.release()
	wg.Wait()
	servedSoon(t, client(t, source), url)
}

// TestIdleShare: whoever leaves many connections behind loses its own.
func TestIdleShare(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections = 32 })
	bob, source := client(t, domain.Source("/bob")), domain.Source("/hog")
	if _, err := post(bob, url); err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := post(client(t, source), url); err != nil {
			t.Fatal(err)
		}
	}
	if reused, err := post(bob, url); err != nil || !reused {
		t.Errorf("reused %v, %v", reused, err)
	}
}

// TestSharedAccount: identities of one account have one share.
func TestSharedAccount(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	h := newHeld(t)
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) {
		c.MaxConnections, c.Handler = 8, h.handler
		c.Account = func(id spiffeid.ID) string { return id.Path()[:2] }
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer h.release()
	for _, path := range []string{"/a1", "/a2"} {
		c := client(t, domain.Source(path))
		wg.Go(func() {
			if _, err := post(c, url+"/hold"); err != nil {
				t.Error(err)
			}
		})
		<-h.begun
	}
	if _, err := post(client(t, domain.Source("/a3")), url); err == nil {
		t.Error("a third connection of 8")
	}
	if _, err := post(client(t, domain.Source("/b1")), url); err != nil {
		t.Error(err)
	}
}

// TestFlood: connections that show no identity make room for each other, not
// those of peers that have one.
func TestFlood(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections = 16 })
	bob := client(t, domain.Source("/bob"))
	if _, err := post(bob, url); err != nil {
		t.Fatal(err)
	}
	for range 64 {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	// Accepted after all of them.
	if _, err := post(client(t, domain.Source("/alice")), url); err != nil {
		t.Fatal(err)
	}
	if reused, err := post(bob, url); err != nil || !reused {
		t.Errorf("reused %v, %v", reused, err)
	}
}

// TestStolenCertificate: a certificate is public. Who shows one without its key is
// counted as nobody, and closes no connection of its holder.
func TestStolenCertificate(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections = 4 })
	source := domain.Source("/bob")
	bob := client(t, source)
	if _, err := post(bob, url); err != nil {
		t.Fatal(err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	other := domain.SVID("/bob", time.Hour)
	thief := client(t, source)
	transport, ok := thief.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: other.PrivateKey}, nil
	}
	for range 3 {
		if _, err := post(thief, url); err == nil {
			t.Fatal("served")
		}
	}
	if reused, err := post(bob, url); err != nil || !reused {
		t.Errorf("reused %v, %v", reused, err)
	}
}

// TestGeneralOptions: net/http answers these by itself, past all checks, unless told
// otherwise.
func TestGeneralOptions(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	asked := make(chan string, 1)
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) {
		c.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.URL.Path })
	})
	alice := domain.Source("/alice")
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), mtls.ClientConfig(alice, alice, func(spiffeid.ID) bool { return true }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-asked:
		if got != "OPTIONS *" {
			t.Errorf("got %q", got)
		}
	default:
		t.Error("it was answered without the handler")
	}
}

func TestStreams(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	h := newHeld(t)
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.Handler = h.handler })
	alice := overHTTP2(t, client(t, domain.Source("/alice")))
	dials := counted(t, alice)
	if _, err := post(alice, url); err != nil { // and with it the server's settings
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer h.release()
	for range 40 {
		wg.Go(func() {
			if _, err := post(alice, url+"/hold"); err != nil {
				t.Error(err)
			}
		})
	}
	for range 40 {
		<-h.begun
	}
	if n := dials.Load(); n < 2 {
		t.Errorf("40 requests under way over %d connection", n)
	}
}

func TestHTTP1Only(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.HTTP1Only = true })
	res, err := overHTTP2(t, client(t, domain.Source("/alice"))).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if res.ProtoMajor != 1 {
		t.Errorf("got %s", res.Proto)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
}

// TestWithdrawnPeerOverHTTP2: the connection ends, not only the stream, and the
// log says so once.
func TestWithdrawnPeerOverHTTP2(t *testing.T) {
	domain, away := identitytest.NewDomain(t, "spike.ist"), identitytest.NewDomain(t, "away.example")
	server := domain.Source("/server", away)
	var mu sync.Mutex
	var said bytes.Buffer
	url := serve(t, server, func(c *mtls.ServerConfig) {
		c.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return said.Write(p)
		}), &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	alice := overHTTP2(t, client(t, away.Source("/alice", domain)))
	dials := counted(t, alice)
	if _, err := post(alice, url); err != nil {
		t.Fatal(err)
	}
	server.Trust(domain)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := post(alice, url); err == nil {
				t.Error("served")
			}
		})
	}
	wg.Wait()
	if _, err := post(alice, url); err == nil {
		t.Error("served")
	}
	if dials.Load() < 2 {
		t.Error("the connection was kept")
	}
	warnings := func() int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(said.String(), "level=WARN")
	}
	// The connection ends before the log says why.
	for deadline := time.Now().Add(10 * time.Second); warnings() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestManyStrangers: whatever several identities do at once, the books stay right:
// afterwards a newcomer is served.
func TestManyStrangers(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections = 16 })
	var wg sync.WaitGroup
	for _, path := range []string{"/a", "/b", "/c", "/d", "/e", "/f"} {
		source := domain.Source(path)
		wg.Go(func() {
			for range 30 {
				// It may well be refused; only what remains of that matters.
				_, _ = post(client(t, source), url)
			}
		})
	}
	wg.Wait()
	servedSoon(t, client(t, domain.Source("/newcomer")), url)
}

// servedSoon tries until c is served: a server books an answered connection as
// idle a moment after its client has the answer.
func servedSoon(t *testing.T, c *http.Client, url string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := post(c, url)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
