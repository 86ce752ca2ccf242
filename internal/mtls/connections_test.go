package mtls

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/identitytest"
)

// TestEvictionDoesNotWait: TLS says goodbye to a peer before it hangs up, and one
// that reads nothing makes that last 5 s, in which nobody would be let in.
func TestEvictionDoesNotWait(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	server, alice := domain.Source("/server"), domain.Source("/alice")
	config := ServerConfig{
		SVID: server, Bundles: server, MaxConnections: 1, Log: slog.New(slog.DiscardHandler),
		Accept: func(spiffeid.ID) bool { return true }, Account: spiffeid.ID.String,
	}
	open := newConnections(config)
	handshaken := func() *tls.Conn {
		near, far := net.Pipe() // a write lasts until it is read
		ours := tls.Server(newConn(near, time.Hour), serverConfig(config))
		open.note(ours, http.StateNew)
		theirs := tls.Client(far, ClientConfig(alice, alice, func(spiffeid.ID) bool { return true }))
		done := make(chan error, 1)
		go func() { done <- theirs.Handshake() }()
		if err := ours.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = far.Close(), near.Close() })
		return ours
	}
	victim := handshaken()
	open.note(victim, http.StateActive)
	open.note(victim, http.StateIdle)
	began := time.Now()
	next := handshaken()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s to be let in", took)
	}
	open.note(next, http.StateClosed)
	if _, err := victim.Read(make([]byte, 1)); err == nil {
		t.Error("the connection in the way was not closed")
	}
	if len(open.all) != 0 || len(open.accounts) != 0 || open.idle.Len() != 0 || open.fresh.Len() != 0 {
		t.Errorf("left in the books: %+v", open)
	}
}
