package keeper_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
)

// TestKeepersThatHang: whatever a Keeper does, a call ends soon after its time.
func TestKeepersThatHang(t *testing.T) {
	p := newPeers(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, into its backlog
	do(t, err)
	t.Cleanup(func() { do(t, silent.Close()) })
	over := make(chan struct{})
	hang := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
	noAnswer, _ := p.serve("/spike/keeper", http.HandlerFunc(hang))
	halfAnswer, _ := p.serve("/spike/keeper", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"instance":`))
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	}))
	drip, _ := p.serve("/spike/keeper", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	t.Cleanup(func() { close(over) })
	for name, address := range map[string]string{
		"no handshake": silent.Addr().String(), "no answer": noAnswer, "half an answer": halfAnswer,
		"drip": drip,
	} {
		t.Run(name, func(t *testing.T) {
			c := p.client(address, 200*time.Millisecond)
			began := time.Now()
			_, err := c.Held(t.Context())
			if !errors.Is(err, keeper.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if err := c.Contribute(t.Context(), newKey("a").share, "i", nil); !errors.Is(err, keeper.ErrUnreachable) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("two calls of 200 ms took %s", took)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err = c.Held(ctx)
			if !errors.Is(err, context.Canceled) || errors.Is(err, keeper.ErrUnreachable) {
				t.Errorf("canceled: got %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	p := newPeers(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	do(t, err, l.Close())
	impostor, _ := p.serve("/spike/nexus", http.NotFoundHandler())
	twin := newPeers(t)
	for name, address := range map[string]string{
		"nobody there": l.Addr().String(), "another identity": impostor, "another trust domain": twin.address,
	} {
		_, err := p.client(address, 10*time.Second).Held(t.Context())
		if !errors.Is(err, keeper.ErrUnreachable) {
			t.Errorf("%s: got %v", name, err)
		}
		if (name == "another identity") != errors.Is(err, mtls.ErrWrongPeer) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestAnswersNotUnderstood are neither an empty Keeper nor a success.
func TestAnswersNotUnderstood(t *testing.T) {
	p := newPeers(t)
	var status int
	var content string
	address, _ := p.serve("/spike/keeper", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(content))
	}))
	c := p.client(address, 10*time.Second)
	share := contribution(t, newKey("a"))
	for _, a := range []struct {
		status  int
		content string
	}{
		{200, ""}, {200, "null"}, {200, "[]"}, {200, "<html>"}, {200, `{"err":"api_not_found"}`}, {404, "gone"},
		{404, `{}`}, {302, `{}`}, {401, `{}`}, {409, `{"err":"from_the_future"}`}, {503, `{"err":"state_not_ready"}`},
		{200, strings.Repeat("x", 70<<10)},
	} {
		status, content = a.status, a.content
		_, err := c.Held(t.Context())
		for call, err := range map[string]error{"held": err, "erase": c.Erase(t.Context(), "i", &keeper.Tag{}, nil)} {
			if !errors.Is(err, keeper.ErrProtocol) {
				t.Errorf("%s, %d %.20s: got %v", call, a.status, a.content, err)
			}
		}
	}
	for _, a := range []struct {
		status  int
		content string
	}{
		{200, `{}`}, {200, `{"instance":"i"}`}, {200, `{"instance":"i","shard":null,"active":null}`},
		{200, share}, // a Keeper that knows no slots
		{200, `{"instance":"i",` + share[1:]},
		{404, `{"shard":null,"err":"api_not_found"}`},
		{404, `{"instance":"i","err":"api_not_found","active":` + share + `}`},
		{200, `{"instance":"` + strings.Repeat("i", 65) + `","active":` + share + `}`},
		{200, `{"active":` + share + `}`},
		{200, `{"instance":"i","active":{}}`},
		{200, `{"instance":"i","active":` + strings.Replace(share, `"set":"keeper"`, `"set":"paper"`, 1) + `}`},
		{200, `{"instance":"i","pending":` + strings.Replace(share, `"format":1`, `"format":2`, 1) + `}`},
		{200, `{"instance":"i","active":` + share + `,"anchor":{"cluster":"x"}}`},
	} {
		status, content = a.status, a.content
		if held, err := c.Held(t.Context()); !errors.Is(err, keeper.ErrProtocol) || held.Active != nil {
			t.Errorf("%d %.60s: got %v, %v", a.status, a.content, held, err)
		}
	}
	status, content = 404, `{"instance":"i","shard":null,"err":"api_not_found"}`
	if err := c.Promote(t.Context(), "k", "i", nil); !errors.Is(err, keeper.ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

// TestRestartedKeeper: the connection that was kept is dead, and the call that
// finds it so does not fail for that; whoever asked to be told was told.
func TestRestartedKeeper(t *testing.T) {
	p := newPeers(t)
	source := p.domain.Source("/spike/nexus")
	ended := make(chan string, 16)
	httpClient := keeper.NewWatchedHTTPClient(source, source, isKeeper, func(address string) { ended <- address })
	defer httpClient.CloseIdleConnections()
	c := keeper.NewClient(keeper.ClientConfig{
		URL: &url.URL{Scheme: "https", Host: p.address}, HTTP: httpClient, Timeout: 10 * time.Second,
	})
	before, err := c.Held(t.Context())
	do(t, err)
	p.stop()
	if got := <-ended; got != p.address {
		t.Errorf("a connection to %s ended, want %s", got, p.address)
	}
	fresh := newHolder(t)
	p.serveAt(p.address, "/spike/keeper", keeper.NewHandler(fresh, p.roles, slog.New(slog.DiscardHandler)))
	after, err := c.Held(t.Context())
	do(t, err)
	if before.Instance == after.Instance {
		t.Error("a new process is the same instance")
	}
	// A signature for the process before is worth nothing in this one.
	a, b := newKey("a"), newKey("b")
	do(t, c.Contribute(t.Context(), a.share, after.Instance, nil), c.Promote(t.Context(), a.id(), after.Instance, nil))
	if err := c.Contribute(t.Context(), b.share, before.Instance, a.sign); !errors.Is(err, keeper.ErrSignature) {
		t.Errorf("got %v", err)
	}
}

// TestNewIdentityOfNexus: a call after a rotation takes a new connection, and
// does not fail for the old one.
func TestNewIdentityOfNexus(t *testing.T) {
	p := newPeers(t)
	source := p.domain.Source("/spike/nexus")
	ended := make(chan string, 16)
	httpClient := keeper.NewWatchedHTTPClient(source, source, isKeeper, func(address string) { ended <- address })
	defer httpClient.CloseIdleConnections()
	c := keeper.NewClient(keeper.ClientConfig{
		URL: &url.URL{Scheme: "https", Host: p.address}, HTTP: httpClient, Timeout: 10 * time.Second,
	})
	share := newKey("a").share
	do(t, c.Contribute(t.Context(), share, "i", nil))
	source.Use(p.domain.SVID("/spike/nexus", time.Hour))
	do(t, c.Contribute(t.Context(), share, "i", nil))
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the connection of the old identity is still in use")
	}
}
