package main

import (
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"

	"github.com/spiffe/spike/internal/identitytest"
)

// provider is a Workload API that gives every caller the same identities, in
// order, and tells all of them when these change.
type provider struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t      *testing.T
	domain *identitytest.Domain

	mu      sync.Mutex
	svids   []*x509svid.SVID
	changed chan struct{}
}

// startProvider serves on a new socket until the test ends.
func startProvider(t *testing.T, domain *identitytest.Domain, svids ...*x509svid.SVID) (socket string, p *provider) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	return "unix://" + path, serveProvider(t, path, domain, svids...)
}

func serveProvider(t *testing.T, path string, domain *identitytest.Domain, svids ...*x509svid.SVID) *provider {
	t.Helper()
	p := &provider{t: t, domain: domain, svids: svids, changed: make(chan struct{})}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, p)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *provider) use(svids ...*x509svid.SVID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.svids = svids
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *provider) FetchX509SVID(_ *workload.X509SVIDRequest,
	stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	for {
		p.mu.Lock()
		svids, changed := p.svids, p.changed
		p.mu.Unlock()
		res := &workload.X509SVIDResponse{}
		for _, svid := range svids {
			certs, key, err := svid.MarshalRaw()
			if err != nil {
				return err
			}
			res.Svids = append(res.Svids, &workload.X509SVID{
				SpiffeId: svid.ID.String(), X509Svid: certs, X509SvidKey: key, Bundle: authorities(p.domain),
			})
		}
		if err := stream.Send(res); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func authorities(d *identitytest.Domain) []byte {
	var raw []byte
	for _, a := range d.Bundle().X509Authorities() {
		raw = append(raw, a.Raw...)
	}
	return raw
}
