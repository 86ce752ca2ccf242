package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/shard"
)

// world is what a command finds around it: a Workload API on a Unix socket, and
// a Nexus that knows no more than what is needed to answer. Both are real
// servers; only what stands behind their answers is made up.
type world struct {
	t      testing.TB
	domain *identitytest.Domain
	socket string
	addr   string

	mu         sync.Mutex
	identities []string // paths; nil refuses
	silent     bool     // the Workload API does not answer
	state      string
	answer     error // what every call is answered with, if set
	secrets    map[string][]api.Values
	collected  map[int]bool
	requests   int
	nexus      *mtls.Server
	served     chan error
	api        *grpc.Server
	apiDone    chan error
}

func newWorld(t testing.TB) *world {
	t.Helper()
	// A socket's path may have 108 bytes, and a test's folder can be longer.
	dir, err := os.MkdirTemp("", "spike")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, domain: identitytest.NewDomain(t, "spike.ist"),
		socket: filepath.Join(dir, "api.sock"), addr: "127.0.0.1:0",
		state: api.StateOpen, secrets: map[string][]api.Values{}, collected: map[int]bool{},
		identities: []string{"/spike/pilot/role/superuser"},
	}
	w.startAPI()
	w.startNexus("/spike/nexus")
	return w
}

func (w *world) close() {
	w.stopNexus()
	w.stopAPI()
	if err := os.RemoveAll(filepath.Dir(w.socket)); err != nil {
		w.t.Error(err)
	}
}

// quickExit keeps the race detector from sleeping a second at the end of every
// command.
const quickExit = "GORACE=atexit_sleep_ms=10"

func (w *world) environment() []string {
	return []string{quickExit, "SPIFFE_ENDPOINT_SOCKET=unix://" + w.socket, "SPIKE_NEXUS_API_URL=https://" + w.addr}
}

// become puts Nexus into a state and issues the identities with these paths.
func (w *world) become(state string, identities ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state, w.identities = state, identities
}

// stored returns every version of a secret.
func (w *world) stored(path string) []api.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.secrets[path])
}

func (w *world) startAPI() {
	l, err := net.Listen("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.api, w.apiDone = grpc.NewServer(), make(chan error, 1)
	workload.RegisterSpiffeWorkloadAPIServer(w.api, workloadAPI{world: w})
	go func(s *grpc.Server, done chan error) { done <- s.Serve(l) }(w.api, w.apiDone)
}

func (w *world) stopAPI() {
	if w.api != nil {
		w.api.Stop()
		// A world can end before its server began.
		if err := <-w.apiDone; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			w.t.Error(err)
		}
		w.api = nil
	}
}

type workloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	*world
}

// FetchX509SVID sends the present identities and then waits, as the real one.
func (w workloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); !slices.Equal(md.Get("workload.spiffe.io"), []string{"true"}) {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	w.mu.Lock()
	identities, silent := w.identities, w.silent
	w.mu.Unlock()
	if silent {
		<-stream.Context().Done()
		return nil
	}
	if identities == nil {
		return status.Error(codes.PermissionDenied, "no identity issued")
	}
	res := &workload.X509SVIDResponse{}
	for _, path := range identities {
		svid := w.domain.SVID(path, time.Hour)
		chain, key, err := svid.MarshalRaw()
		if err != nil {
			return err
		}
		res.Svids = append(res.Svids, &workload.X509SVID{
			SpiffeId: svid.ID.String(), X509Svid: chain, X509SvidKey: key,
			Bundle: concat(w.domain.Bundle().X509Authorities()),
		})
	}
	if err := stream.Send(res); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func concat(certs []*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, c.Raw...)
	}
	return out
}

func (w *world) startNexus(path string) {
	l, err := net.Listen("tcp", w.addr)
	// While Nexus was stopped, its port may have become some connection's.
	for end := time.Now().Add(30 * time.Second); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		l, err = net.Listen("tcp", w.addr)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	source := w.domain.Source(path)
	w.nexus = mtls.NewServer(mtls.ServerConfig{
		Handler: http.HandlerFunc(w.serve), SVID: source, Bundles: source,
		Accept: func(id spiffeid.ID) bool { return id.Path() != "/stranger" },
		Log:    slog.New(slog.DiscardHandler),
	})
	w.served = make(chan error, 1)
	go func(s *mtls.Server, done chan error) { done <- s.Serve(l) }(w.nexus, w.served)
}

func (w *world) stopNexus() {
	if w.nexus == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(w.nexus.Shutdown(ctx), <-w.served); err != nil {
		w.t.Error(err)
	}
	w.nexus = nil
}

func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	id, _ := mtls.PeerID(r.Context())
	out.Header().Set(api.RequestIDHeader, "req-42")
	res, err := w.handle(id, r)
	if err != nil {
		code, name := api.Wire(err)
		out.WriteHeader(code)
		res = map[string]any{"err": name}
	}
	if err := json.NewEncoder(out).Encode(res); err != nil {
		w.t.Error(err)
	}
}

func (w *world) handle(id spiffeid.ID, r *http.Request) (any, error) {
	role, _, _ := strings.Cut(strings.TrimPrefix(id.Path(), "/spike/pilot/role/"), "/")
	switch route := r.URL.Path + r.URL.Query().Get("action"); {
	case r.URL.Path == api.PathOperatorStatus && role == "superuser":
		return w.status(), nil
	case w.answer != nil:
		return nil, w.answer
	case route == api.PathOperatorRestore && role == "restore":
		return w.restore(r)
	case route == api.PathOperatorInit && role == "superuser":
		if w.state != api.StateUninitialized {
			return nil, api.ErrAlreadyInitialized
		}
		w.state = api.StateOpen
		return api.OperatorInitResponse{Cluster: "c-1", KeyID: "k-1", Threshold: 2, Keepers: 3, Shards: 3}, nil
	case w.state != api.StateOpen:
		return nil, api.ErrNotReady
	case route == api.PathOperatorRecover && role == "recover":
		return api.OperatorRecoverResponse{Shards: shards(), Cluster: "c-1", KeyID: "k-1", Threshold: 2}, nil
	case r.URL.Path == api.PathSecret && (role == "superuser" || id.Path() == "/web"):
		return w.secret(r)
	}
	return nil, api.ErrUnauthorized
}

func (w *world) secret(r *http.Request) (any, error) {
	var req api.SecretPutRequest
	var version struct {
		Version int `json:"version"`
	}
	var raw json.RawMessage
	if err := errors.Join(json.NewDecoder(r.Body).Decode(&raw), json.Unmarshal(raw, &req), json.Unmarshal(raw, &version)); err != nil {
		return nil, api.ErrBadRequest
	}
	versions := w.secrets[req.Path]
	switch r.URL.Query().Get("action") {
	case api.ActionPut:
		w.secrets[req.Path] = append(versions, req.Values)
		return api.SecretPutResponse{Version: len(versions) + 1}, nil
	case api.ActionGet:
		n := version.Version
		if n == 0 {
			n = len(versions)
		}
		if n < 1 || n > len(versions) {
			return nil, api.ErrNotFound
		}
		return api.SecretGetResponse{Data: versions[n-1]}, nil
	}
	return api.SecretListResponse{Keys: slices.Sorted(maps.Keys(w.secrets))}, nil
}

func (w *world) status() api.OperatorStatusResponse {
	spare, secrets := 1, len(w.secrets)
	res := api.OperatorStatusResponse{
		State: w.state, Backend: "sqlite", Version: "nexus test",
		Keepers: []api.KeeperStatus{
			{Index: 1, URL: "https://keeper-1:8443", Reachable: true, Holds: api.HoldsShare},
			{Index: 2, URL: "https://keeper-2:8443", Reachable: true, Holds: api.HoldsShare},
			{Index: 3, URL: "https://keeper-3:8443", Holds: api.HoldsUnknown, Detail: "connection refused"},
		},
	}
	if w.state == api.StateUninitialized {
		res.Reason = "there is no cluster in the data folder yet"
		for i := range res.Keepers {
			res.Keepers[i].Holds = api.HoldsNothing
		}
		return res
	}
	res.Cluster, res.KeyID, res.Threshold, res.Shards = "c-1", "k-1", 2, 3
	if w.state == api.StateLocked {
		res.Reason = "1 of the 3 Keepers has its share, and 2 are needed"
		res.Keepers[1].Holds = api.HoldsNothing
		res.Collected = len(w.collected)
		short := -1
		res.Spare = &short
		return res
	}
	res.Spare, res.Secrets, res.Started = &spare, &secrets, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return res
}

// shards returns the recovery shards of the made-up cluster.
func shards() map[int]shard.Value {
	set := map[int]shard.Value{}
	for i := 1; i <= 3; i++ {
		var v shard.Value
		for j := range v {
			v[j] = byte(0xa0 + i)
		}
		set[i] = v
	}
	return set
}

func (w *world) restore(r *http.Request) (any, error) {
	var req api.OperatorRestoreRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || !req.Strict {
		return nil, api.ErrBadRequest
	}
	const threshold = 2
	switch {
	case w.state == api.StateUninitialized:
		return nil, api.ErrUninitialized
	case w.state == api.StateOpen:
		return api.OperatorRestoreResponse{Restored: true}, nil
	case req.Cluster != "" && req.Cluster != "c-1":
		return nil, api.ErrShardForeign
	case req.KeyID != "" && req.KeyID != "k-1":
		return nil, api.ErrShardStale
	case shards()[req.ID] != req.Shard || req.Shard == shard.Value{}:
		return nil, api.ErrShardCorrupt
	case w.collected[req.ID]:
		return nil, api.ErrShardDuplicate
	}
	w.collected[req.ID] = true
	n := len(w.collected)
	if n >= threshold {
		w.state = api.StateOpen
	}
	return api.OperatorRestoreResponse{Collected: n, Remaining: threshold - n, Restored: n >= threshold}, nil
}
