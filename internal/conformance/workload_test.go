package conformance

import (
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/role"
)

// The trust domains. Clusters trust home, and second where a test says so.
const (
	home   = "spike.ist"
	second = "second.example"
	away   = "away.example"
)

// world is trust domains in memory, and a Workload API for each role in the first
// of them, so that a cluster of the real programs and any caller can be told who
// they are.
type world struct {
	t       *testing.T
	dir     string
	domains map[string]*identitytest.Domain

	mu      sync.Mutex
	servers map[role.Role]*workloadAPI
	sources map[string]*identitytest.Source
}

// newWorld returns a world whose programs trust home and second.
func newWorld(t *testing.T) *world {
	t.Helper()
	// Not t.TempDir: with a test's name in it, it could be too long for a socket.
	dir, err := os.MkdirTemp("", "spike-world-")
	must(t, err)
	w := &world{t: t, dir: dir, servers: map[role.Role]*workloadAPI{}, sources: map[string]*identitytest.Source{},
		domains: map[string]*identitytest.Domain{
			home: identitytest.NewDomain(t, home), second: identitytest.NewDomain(t, second), away: identitytest.NewDomain(t, away),
		}}
	t.Cleanup(func() {
		for _, s := range w.servers {
			s.grpc.Stop()
			<-s.done
		}
		must(t, os.RemoveAll(dir))
	})
	return w
}

// socket returns the address of the Workload API of a role's holder, and starts it
// if need be.
func (w *world) socket(r role.Role) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	file := filepath.Join(w.dir, r.String())
	if w.servers[r] == nil {
		s := &workloadAPI{grpc: grpc.NewServer(), done: make(chan error, 1)}
		w.servers[r] = s
		s.set(w.response(r, home, second))
		workload.RegisterSpiffeWorkloadAPIServer(s.grpc, s)
		l, err := net.Listen("unix", file)
		if err != nil {
			w.t.Error(err) // and not Fatal: the caller may be any goroutine
			close(s.done)
			return ""
		}
		go func() { s.done <- s.grpc.Serve(l) }()
	}
	return "unix://" + file
}

// trust has every program trust these domains from now on.
func (w *world) trust(domains ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r, s := range w.servers {
		s.set(w.response(r, domains...))
	}
}

func (w *world) response(r role.Role, trusted ...string) *workload.X509SVIDResponse {
	svid := w.domains[home].SVID(r.Path(), time.Hour)
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	if err != nil {
		w.t.Error(err)
	}
	res := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
	for _, name := range trusted {
		bundle := w.domains[name].Bundle().X509Authorities()[0].Raw
		if name == home {
			res.Svids = []*workload.X509SVID{{
				SpiffeId: svid.ID.String(), X509Svid: svid.Certificates[0].Raw, X509SvidKey: key, Bundle: bundle,
			}}
		} else {
			res.FederatedBundles["spiffe://"+name] = bundle
		}
	}
	return res
}

// workloadAPI gives one identity to whoever asks.
type workloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	grpc *grpc.Server
	done chan error

	mu      sync.Mutex
	now     *workload.X509SVIDResponse
	changed chan struct{}
}

func (s *workloadAPI) set(res *workload.X509SVIDResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
	}
	s.now, s.changed = res, make(chan struct{})
}

func (s *workloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	for {
		s.mu.Lock()
		now, changed := s.now, s.changed
		s.mu.Unlock()
		if err := stream.Send(now); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return errors.New("the stream has ended")
		}
	}
}
