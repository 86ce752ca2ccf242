package mtls_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
)

// checking is client with kept connections checked, and what it dials counted.
func checking(t *testing.T, source *identitytest.Source) (c *http.Client, dials func() int32) {
	t.Helper()
	c = client(t, source)
	n := counted(t, c)
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	transport.TLSHandshakeTimeout = 10 * time.Second
	mtls.CheckKept(transport, source, source)
	return c, n.Load
}

// TestOwnRotation: a request after the own SVID changed takes a new connection,
// and is not lost with the old one.
func TestOwnRotation(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), nil)
	source := domain.Source("/alice")
	alice, dials := checking(t, source)
	want := func(n int32) {
		t.Helper()
		for range 3 {
			if _, err := post(alice, url); err != nil {
				t.Fatal(err)
			}
		}
		if got := dials(); got != n {
			t.Errorf("dialed %d times, want %d", got, n)
		}
	}
	want(1)
	next := domain.SVID("/alice", time.Hour)
	source.Use(next)
	want(2)
	source.Use(&x509svid.SVID{ID: next.ID, Certificates: next.Certificates, PrivateKey: next.PrivateKey})
	want(2) // the same one
	source.Trust(domain)
	want(2) // a new bundle that still trusts
}

// TestRotationUnderLoad: both ends get new SVIDs and bundles, again and again.
func TestRotationUnderLoad(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	server, source := domain.Source("/server"), domain.Source("/alice")
	url := serve(t, server, nil)
	alice, dials := checking(t, source)
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := post(alice, url); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		source.Use(domain.SVID("/alice", time.Hour))
		server.Use(domain.SVID("/server", time.Hour))
		source.Trust(domain)
		server.Trust(domain)
		time.Sleep(5 * time.Millisecond)
	}
	close(over)
	wg.Wait()
	if n := dials(); n < 50 {
		t.Errorf("%d connections for 100 SVIDs", n)
	}
}

// TestRotationBeforeBody: a request that waits for the server's word before it
// sends its body stays on its connection.
func TestRotationBeforeBody(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	source := domain.Source("/alice")
	var got []byte
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) {
		c.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			source.Use(domain.SVID("/alice", time.Hour))
			got, _ = io.ReadAll(r.Body) // and says "100 Continue"
		})
	})
	alice, _ := checking(t, source)
	transport, ok := alice.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	transport.ExpectContinueTimeout = 10 * time.Second
	// Without a way to send it twice.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	res, err := alice.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || string(got) != "body" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestKeptConnectionToWithdrawnServer: what a client no longer trusts gets no
// request over the connection that is still there.
func TestKeptConnectionToWithdrawnServer(t *testing.T) {
	domain, away := identitytest.NewDomain(t, "spike.ist"), identitytest.NewDomain(t, "away.example")
	url := serve(t, away.Source("/server", domain), nil)
	source := domain.Source("/alice", away)
	alice, _ := checking(t, source)
	if _, err := post(alice, url); err != nil {
		t.Fatal(err)
	}
	source.Trust(domain)
	if _, err := post(alice, url); err == nil {
		t.Error("served after trust was withdrawn")
	}
	source.Trust(domain, away)
	if _, err := post(alice, url); err != nil {
		t.Error(err)
	}
}

func TestKeptConnectionToExpiredServer(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	server := domain.Source("/server")
	server.Use(domain.SVID("/server", 3*time.Second)) // certificates count whole seconds: 2 to 3
	url := serve(t, server, nil)
	alice, dials := checking(t, domain.Source("/alice"))
	if _, err := post(alice, url); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if _, err := post(alice, url); err == nil {
		t.Error("served after expiry")
	}
	server.Use(domain.SVID("/server", time.Hour))
	if _, err := post(alice, url); err != nil || dials() != 3 {
		t.Errorf("%d connections, %v", dials(), err)
	}
}
