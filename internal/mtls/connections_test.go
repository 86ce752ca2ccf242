package mtls

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

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
	if open.count != 0 || len(open.accounts) != 0 || open.idle.len != 0 || open.fresh.len != 0 {
		t.Errorf("left in the books: %+v", open)
	}
}

// TestQueue compares a queue with a slice, whatever comes and goes.
func TestQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			q     queue
			want  []*place
			known [6]place
		)
		for i := range known {
			known[i].conn = &conn{}
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			p := &known[rapid.IntRange(0, len(known)-1).Draw(t, "which")]
			want = slices.DeleteFunc(want, func(other *place) bool { return other == p })
			if rapid.Bool().Draw(t, "comes") {
				q.push(&p.turn, p)
				want = append(want, p)
			} else {
				p.turn.leave()
			}
			var got []*place
			for l := q.first; l != nil; l = l.next {
				got = append(got, l.place)
			}
			if !slices.Equal(got, want) || q.len != len(want) {
				t.Fatalf("%d in the queue, want %d", q.len, len(want))
			}
			if len(want) > 0 && (q.front() != want[0].conn || q.last.place != want[len(want)-1]) || len(want) == 0 && q.front() != nil {
				t.Fatal("the queue's ends are not the oldest and the newest")
			}
		}
	})
}

// TestARequestIsBookedWithoutAllocating, since each is booked twice.
func TestARequestIsBookedWithoutAllocating(t *testing.T) {
	open := newConnections(ServerConfig{MaxConnections: 8, Account: spiffeid.ID.String})
	c, _, _ := pipe(t)
	c.peer.Store(&peer{id: spiffeid.RequireFromString("spiffe://spike.ist/x")})
	open.move(c, http.StateNew)
	if n := testing.AllocsPerRun(100, func() {
		open.move(c, http.StateActive)
		open.move(c, http.StateIdle)
	}); n != 0 {
		t.Errorf("booking a request allocates %v times", n)
	}
}
