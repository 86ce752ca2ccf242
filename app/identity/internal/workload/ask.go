package workload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Ask makes one call to the Workload API on socket and returns nil if it is
// answered. That no identity is issued to the asker is an answer.
func Ask(ctx context.Context, socket string) (err error) {
	// gRPC hides why it could not connect, so find that out first.
	var dialer net.Dialer
	probe, err := dialer.DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no identity provider: %s does not exist; start one with: identity run", socket)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("no identity provider: nobody listens on %s any more; start it again with: identity run", socket)
	case err != nil:
		return fmt.Errorf("connect to the identity provider: %w", err)
	}
	if err := probe.Close(); err != nil {
		return fmt.Errorf("connect to the identity provider: %w", err)
	}
	conn, err := grpc.NewClient("passthrough:///local",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return fmt.Errorf("ask the identity provider: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true"))
	defer cancel()
	stream, err := api.NewSpiffeWorkloadAPIClient(conn).FetchX509SVID(ctx, &api.X509SVIDRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil && status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("the identity provider on %s does not answer as it should: %w", socket, err)
	}
	return nil
}
