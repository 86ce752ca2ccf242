package load_test

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/spike/app/bench/internal/load"
)

// server answers with the body that it is sent, and closes each connection after
// so many requests, if any.
func server(t *testing.T, closeAfter int64) (address string, identity *tls.Config, served, opened *atomic.Int64) {
	t.Helper()
	served, opened = &atomic.Int64{}, &atomic.Int64{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := served.Add(1)
		if closeAfter > 0 && n%closeAfter == 0 {
			w.Header().Set("Connection", "close")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.RawQuery == "not-yet" && n < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if _, err := w.Write(body); err != nil {
			t.Error(err)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com"
	return s.Listener.Addr().String(), config, served, opened
}

func pick(kind load.Kind, want string) func(*rand.Rand) *load.Request {
	r := load.NewRequest(kind, "/x?y", "{}", want)
	return func(*rand.Rand) *load.Request { return r }
}

var errBegan = errors.New("it cannot begin")

func TestRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		plan       load.Plan
		closeAfter int64
		want       string // in the error
	}{
		"kept connections":          {plan: load.Plan{Connections: 2, Open: 5, Count: 20}},
		"new connections":           {plan: load.Plan{Connections: 2, Count: 20, Fresh: true}},
		"by net/http":               {plan: load.Plan{Connections: 2, Count: 20, Standard: true}},
		"a server that closes some": {plan: load.Plan{Connections: 2, Count: 20}, closeAfter: 3},
		"a wrong answer":            {plan: load.Plan{Connections: 1, Count: 1, Pick: pick(load.Read, "other")}, want: "want 200"},
		"a wrong answer, by net/http": {
			plan: load.Plan{Connections: 1, Count: 1, Standard: true, Pick: pick(load.Read, "other")}, want: "want 200",
		},
		"no beginning": {plan: load.Plan{Connections: 1, Count: 1, Began: func() error { return errBegan }}, want: errBegan.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := tc.plan
			address, identity, served, made := server(t, tc.closeAfter)
			p.Address, p.Identities, p.Time = address, []*tls.Config{identity}, time.Minute
			if p.Pick == nil {
				p.Pick = pick(load.Read, "{}")
			}
			r, err := load.Run(t.Context(), p)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// Each kept connection is used once before anything counts.
			opening := int64(max(p.Open, p.Connections))
			if r.Count() != p.Connections*p.Count || served.Load() != int64(r.Count())+opening {
				t.Errorf("counted %d, the server %d", r.Count(), served.Load())
			}
			want := opening
			switch {
			case p.Fresh:
				want = served.Load()
			case tc.closeAfter > 0:
				want = made.Load() // it depends on which connections it closed
			}
			if made.Load() != want {
				t.Errorf("%d connections, want %d", made.Load(), want)
			}
			if q := r.Quantile(load.Read, 0.5); q <= 0 || q > r.Quantile(load.Read, 1) || r.Quantile(load.Write, 0.5) != 0 {
				t.Errorf("quantiles %v, %v", q, r.Quantile(load.Read, 1))
			}
		})
	}
}

func TestFirstWaitsForTheRightAnswer(t *testing.T) {
	t.Parallel()
	address, identity, served, _ := server(t, 0)
	r := load.NewRequest(load.Read, "/x?not-yet", "{}", "{}")
	if err := load.First(t.Context(), address, identity, r); err != nil || served.Load() != 4 {
		t.Errorf("after %d requests: %v", served.Load(), err)
	}
}

func TestEachIsSentOnce(t *testing.T) {
	t.Parallel()
	address, identity, served, _ := server(t, 0)
	requests := make([]*load.Request, 50)
	for i := range requests {
		requests[i] = load.NewRequest(load.Write, "/x", "{}", "{}")
	}
	if err := load.Each(t.Context(), address, identity, 4, requests); err != nil || served.Load() != 50 {
		t.Errorf("%d of 50: %v", served.Load(), err)
	}
}
