package domain

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
)

// served are the Workload APIs, each with a socket of its own.
type served struct {
	folder string
	apis   []*workloadAPI
}

// workloadAPI gives one identity to whoever asks.
type workloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	grpc     *grpc.Server
	done     chan error
	response *workload.X509SVIDResponse
}

// Serve starts a Workload API that gives whoever asks the identity at path, and
// returns its address.
func (d *Domain) Serve(path string) (string, error) {
	svid, err := d.SVID(path)
	if err != nil {
		return "", err
	}
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.folder, strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"))
	l, err := net.Listen("unix", file)
	if err != nil {
		return "", fmt.Errorf("serve identities; a shorter path may be needed: %w", err)
	}
	// Whoever reaches the socket gets the identity.
	if err := os.Chmod(file, 0o600); err != nil {
		return "", errors.Join(err, l.Close())
	}
	api := &workloadAPI{grpc: grpc.NewServer(), done: make(chan error, 1), response: &workload.X509SVIDResponse{
		Svids: []*workload.X509SVID{{
			SpiffeId: svid.ID.String(), X509Svid: svid.Certificates[0].Raw, X509SvidKey: key, Bundle: d.ca.Raw,
		}},
	}}
	workload.RegisterSpiffeWorkloadAPIServer(api.grpc, api)
	d.apis = append(d.apis, api)
	go func() { api.done <- api.grpc.Serve(l) }()
	return "unix://" + file, nil
}

// FetchX509SVID answers once: nothing ever changes.
func (a *workloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if err := stream.Send(a.response); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// Close ends the Workload APIs.
func (d *Domain) Close() error {
	var errs []error
	for _, api := range d.apis {
		api.grpc.Stop()
		errs = append(errs, <-api.done)
	}
	return errors.Join(errs...)
}
