package rootkey_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/spiffe/spike/app/nexus/internal/rootkey"
	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func as(r role.Role) vault.Caller {
	return vault.Caller{ID: "spiffe://spike.ist" + r.Path(), Role: r, Request: "r"}
}

// world is a trust domain with Keepers, and the disk of one Nexus.
type world struct {
	t       *testing.T
	domain  *identitytest.Domain
	roles   role.Domains
	keepers []*keeperHost
	disk    *disk
	nexus   *identitytest.Source
	thresh  int
	// patience is how long a Nexus waits for a Keeper's answer.
	patience time.Duration
	log      slog.Handler // of every Nexus
	audit    vault.Auditor
}

// disk outlives the Nexus that uses it.
type disk struct{ *memory.Store }

func (disk) Close() error { return nil }

func newWorld(t *testing.T, keepers, threshold int) *world {
	t.Helper()
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	w := &world{
		t: t, domain: identitytest.NewDomain(t, "spike.ist"), disk: &disk{memory.New()}, thresh: threshold,
		patience: 2 * time.Second,
		roles:    role.Domains{Trusted: td, Nexus: td, Keeper: td, Pilot: td}, log: slog.DiscardHandler,
		audit: func(context.Context, vault.Entry) error { return nil },
	}
	w.nexus = w.domain.Source("/spike/nexus")
	for range keepers {
		w.keepers = append(w.keepers, w.newKeeper())
	}
	return w
}

// keeperHost is a real Keeper behind a real TLS listener, at an address that
// stays while the Keeper comes and goes.
type keeperHost struct {
	w       *world
	address string
	holder  *keeper.Holder
	stop    func()
	quit    chan struct{} // closed when the Keeper goes down
	fault   atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func (w *world) newKeeper() *keeperHost {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	k := &keeperHost{w: w, address: l.Addr().String()}
	k.serve(l)
	w.t.Cleanup(func() { k.down() })
	return k
}

func (k *keeperHost) serve(l net.Listener) {
	holder := keeper.NewHolder(slog.New(slog.DiscardHandler))
	handler := keeper.NewHandler(holder, &k.w.roles, slog.New(slog.DiscardHandler))
	source := k.w.domain.Source("/spike/keeper")
	server := mtls.NewServer(mtls.ServerConfig{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if f := k.fault.Load(); f != nil && (*f)(rw, r) {
				return
			}
			handler.ServeHTTP(rw, r)
		}),
		SVID: source, Bundles: source, Log: slog.New(slog.DiscardHandler),
		Accept: func(spiffeid.ID) bool { return true },
	})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	k.holder = holder
	quit := make(chan struct{})
	k.quit = quit
	k.stop = sync.OnceFunc(func() {
		close(quit)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = server.Shutdown(ctx) // what hangs on purpose is cut off
		if err := <-done; err != nil {
			k.w.t.Error(err)
		}
		holder.Close()
	})
}

// down ends the Keeper, and what it held is gone.
func (k *keeperHost) down() { k.stop() }

// up starts an empty Keeper at the same address.
func (k *keeperHost) up() {
	k.w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		l, err := net.Listen("tcp", k.address)
		if err == nil {
			k.serve(l)
			return
		}
		if time.Now().After(deadline) {
			k.w.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (k *keeperHost) misbehave(f func(http.ResponseWriter, *http.Request) bool) {
	if f == nil {
		k.fault.Store(nil)
		return
	}
	k.fault.Store(&f)
}

// held returns what the Keeper holds as active.
func (k *keeperHost) held() *keeper.Share {
	k.w.t.Helper()
	h, err := k.holder.Held()
	if err != nil {
		k.w.t.Fatal(err)
	}
	return h.Active
}

// node is a running Nexus, as far as keys go.
type node struct {
	t       *testing.T
	vault   *vault.Vault
	manager *rootkey.Manager
	stop    func()
}

// start runs a Nexus on the world's disk.
func (w *world) start() *node {
	w.t.Helper()
	return w.startWith(w.disk, w.keepers)
}

func (w *world) startWith(d vault.Store, hosts []*keeperHost) *node {
	w.t.Helper()
	v, err := vault.New(w.t.Context(), vault.Config{
		Store: d, Log: slog.New(slog.DiscardHandler),
		Audit: w.audit,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var m *rootkey.Manager
	client := keeper.NewWatchedHTTPClient(w.nexus, w.nexus,
		func(id spiffeid.ID) bool { return w.roles.Of(id) == role.Keeper },
		func(address string) { m.Ended(address) })
	newKeeper := func(u *url.URL) *keeper.Client {
		return keeper.NewClient(keeper.ClientConfig{URL: u, HTTP: client, Timeout: w.patience})
	}
	var clients []*keeper.Client
	for _, k := range hosts {
		clients = append(clients, newKeeper(&url.URL{Scheme: "https", Host: k.address}))
	}
	m = rootkey.New(rootkey.Config{
		Vault: v, Keepers: clients, Backend: "sqlite", HasRootKey: true, Threshold: w.thresh, Shards: len(hosts),
		NewKeeper: newKeeper, UpdateInterval: time.Hour, SearchInterval: time.Second, Log: slog.New(w.log),
	})
	ctx, cancel := context.WithCancel(context.Background()) // ends with stop
	done := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(done)
	}()
	n := &node{t: w.t, vault: v, manager: m}
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		client.CloseIdleConnections()
		if err := v.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(n.stop)
	return n
}

func (n *node) init() api.OperatorInitResponse {
	n.t.Helper()
	res, err := n.manager.Init(n.t.Context(), as(role.Superuser))
	if err != nil {
		n.t.Fatal(err)
	}
	return res
}

func (n *node) status() api.OperatorStatusResponse {
	n.t.Helper()
	res, err := n.manager.Status(n.t.Context(), as(role.Superuser))
	if err != nil {
		n.t.Fatal(err)
	}
	return res
}

// opens waits for the vault; it is generous, for a busy machine.
func (n *node) opens() {
	n.t.Helper()
	select {
	case <-n.vault.Opened():
	case <-time.After(20 * time.Second):
		n.t.Fatalf("it did not open: %+v", n.status())
	}
}

func (n *node) staysLocked(d time.Duration) {
	n.t.Helper()
	select {
	case <-n.vault.Opened():
		n.t.Fatal("it opened")
	case <-time.After(d):
	}
	if got := n.vault.State(); got != api.StateLocked {
		n.t.Fatalf("it is %s", got)
	}
}

func (n *node) put(path string) {
	n.t.Helper()
	_, err := n.vault.PutSecret(n.t.Context(), as(role.Superuser), &api.SecretPutRequest{Path: path, Values: api.Values{"k": "v"}})
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) has(path string) {
	n.t.Helper()
	if _, err := n.vault.GetSecret(n.t.Context(), as(role.Superuser), &api.SecretGetRequest{Path: path}); err != nil {
		n.t.Fatalf("%s: %v", path, err)
	}
}

// eventually waits until ok; it is generous, for a busy machine.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not in time: %s", what)
		}
	}
}

func (w *world) wantErr(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("got %v, want %v", err, want)
	}
}
