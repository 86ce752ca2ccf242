package conformance

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/role"
)

// promptly is the second within which a peer that is no longer to be let in must be
// refused, and what a busy machine may add.
const promptly = time.Second + 4*time.Second

// TestWithdrawnDomain takes a trust domain out of the bundle while its workload has
// a connection open.
func TestWithdrawnDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start(t, "memory", bothDomains)
	guest, err := w.source("/web@" + second)
	must(t, err)
	friend, err := w.source("superuser")
	must(t, err)
	kept, friends := transport(guest, role.Nexus), transport(friend, role.Nexus)
	defer kept.CloseIdleConnections()
	defer friends.CloseIdleConnections()
	ask := func(to *http.Transport) (answer, error) {
		return send(t.Context(), to, c.URL(), http.MethodPost, "/v1/store/secrets?action=list", "application/json", `{}`)
	}
	for range 2 {
		if a, err := ask(kept); err != nil || a.status != http.StatusUnauthorized {
			t.Fatalf("while trusted: %d, %v", a.status, err)
		}
	}
	w.trust(home)
	began := time.Now()
	for {
		_, err := ask(kept)
		if err != nil {
			break
		}
		if time.Since(began) > promptly {
			t.Fatal("a peer of a domain that is not trusted any more is still served")
		}
		must(t, wait(t.Context(), 10*time.Millisecond))
	}
	t.Logf("refused after %s", time.Since(began).Round(time.Millisecond))
	fresh := transport(guest, role.Nexus)
	defer fresh.CloseIdleConnections()
	for name, to := range map[string]*http.Transport{"the old": kept, "a new": fresh} {
		if a, err := ask(to); err == nil {
			t.Errorf("%s connection got %d", name, a.status)
		}
	}
	if a, err := ask(friends); err != nil || a.status != http.StatusOK {
		t.Errorf("another caller got %d, %v", a.status, err)
	}
}

// TestExpiredPeer has a caller whose SVID ends while it has connections open: one
// that is busy, and one that is idle.
func TestExpiredPeer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start(t, "memory")
	source, err := w.source("/web")
	must(t, err)
	svid := w.domains[home].SVID("/web", 4*time.Second)
	source.Use(svid)
	ends := svid.Certificates[0].NotAfter
	to := transport(source, role.Nexus)
	defer to.CloseIdleConnections()
	idle, err := tls.Dial("tcp", c.URL().Host, transport(source, role.Nexus).TLSClientConfig)
	must(t, err)
	defer func() { _ = idle.Close() }()
	served := time.Time{}
	for time.Now().Before(ends.Add(promptly)) {
		if _, err := send(t.Context(), to, c.URL(), http.MethodPost, "/v1/store/secrets?action=list", "application/json", `{}`); err == nil {
			served = time.Now()
		} else if time.Now().Before(ends) {
			t.Fatalf("refused %s before its SVID ends: %v", time.Until(ends), err)
		} else if time.Now().After(ends.Add(time.Second)) {
			break
		}
		must(t, wait(t.Context(), 20*time.Millisecond))
	}
	if served.IsZero() || served.After(ends.Add(time.Second)) {
		t.Errorf("served last %s after its SVID ended", served.Sub(ends))
	}
	// The idle one was closed by the server, and not by the deadline.
	must(t, idle.SetReadDeadline(ends.Add(promptly)))
	var b [1]byte
	if _, err := idle.Read(b[:]); err == nil || time.Now().After(ends.Add(promptly)) {
		t.Errorf("the idle connection: %v", err)
	}
}

// TestResumption: neither Nexus nor a Keeper hands out what a session could be
// resumed with.
func TestResumption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start(t, "open")
	source, err := w.source("nexus")
	must(t, err)
	for server, at := range map[role.Role]*url.URL{role.Nexus: c.URL(), role.Keeper: c.KeeperURL(1)} {
		cache := &counted{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
		for range 3 {
			to := transport(source, server)
			to.TLSClientConfig.ClientSessionCache = cache
			a, err := send(t.Context(), to, at, http.MethodPost, "/v1/store/shard", "application/json", `{}`)
			to.CloseIdleConnections()
			if err != nil || a.resumed {
				t.Errorf("%s: resumed is %v, %v", server, a.resumed, err)
			}
		}
		if cache.put > 0 {
			t.Errorf("%s gave %d session tickets", server, cache.put)
		}
	}
}

// counted counts the sessions that are put into a cache.
type counted struct {
	tls.ClientSessionCache
	put int
}

// Put implements tls.ClientSessionCache.
func (c *counted) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.put++
	}
	c.ClientSessionCache.Put(key, s)
}
