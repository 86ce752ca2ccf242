package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/spiffe/spike/internal/policy"
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
	secrets    map[string][]*kept
	policies   map[string]*policy.Policy
	fails      string // the policy that cannot be written
	writes     int
	collected  map[int]bool
	outdated   bool // the store is behind, which shows once it is restored
	mismatch   bool // shares and store do not belong together
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
		state: api.StateOpen, secrets: map[string][]*kept{}, policies: map[string]*policy.Policy{}, collected: map[int]bool{},
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

// stored returns the values of every version of a secret.
func (w *world) stored(path string) (values []api.Values) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.secrets[path] {
		values = append(values, k.values)
	}
	return values
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
	if w.state == "hangs" {
		w.mu.Unlock()
		// That the client left is noticed only once its request is read.
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
		w.mu.Lock()
		return
	}
	w.requests++
	id, _ := mtls.PeerID(r.Context())
	out.Header().Set(api.RequestIDHeader, "req-42")
	res, err := w.handle(id, r)
	if err != nil {
		code, name := api.Wire(err)
		out.WriteHeader(code)
		res = map[string]any{"err": name}
	}
	if stream, ok := res.(stream); ok {
		out.Header().Set("Content-Type", api.OctetStream)
		if _, err := out.Write(stream); err != nil {
			w.t.Error(err)
		}
		return
	}
	if err := json.NewEncoder(out).Encode(res); err != nil {
		w.t.Error(err)
	}
}
