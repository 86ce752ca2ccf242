// Package identity gets Pilot's identities from the Workload API and picks the
// one that a command needs.
package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spiffe/spike/internal/role"
)

// Why there is no identity.
var (
	ErrNoAddress  = errors.New("SPIFFE_ENDPOINT_SOCKET is not set")
	ErrBadAddress = errors.New("SPIFFE_ENDPOINT_SOCKET is not the address of a Workload API")
	ErrNoAnswer   = errors.New("the Workload API does not answer")
	// ErrNotIssued means that the Workload API has no entry for this program.
	ErrNotIssued = errors.New("the Workload API issues no identity to this program")
)

// MissingRoleError means that there are identities, but none with the role that
// a command needs.
type MissingRoleError struct {
	Want    role.Role
	Offered []spiffeid.ID
}

// Error names the role and every identity that was offered.
func (e *MissingRoleError) Error() string {
	ids := make([]string, len(e.Offered))
	for i, id := range e.Offered {
		ids[i] = id.String()
	}
	return fmt.Sprintf("no identity with the role %s among %s", e.Want, strings.Join(ids, ", "))
}

// Fetch asks the Workload API at address, once, for every identity of this
// program and the bundles that it trusts.
func Fetch(ctx context.Context, address string, timeout time.Duration) (*workloadapi.X509Context, error) {
	if address == "" {
		return nil, ErrNoAddress
	}
	if err := workloadapi.ValidateAddress(address); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAddress, err)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	held, err := workloadapi.FetchX509Context(limited, workloadapi.WithAddr(address))
	switch {
	// go-spiffe refuses an answer without an SVID, but does not promise to.
	case err == nil && len(held.SVIDs) == 0:
		return nil, ErrNotIssued
	case err == nil:
		return held, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	// The other end knows the time limit too, and may end the stream before we do.
	case limited.Err() != nil:
		return nil, fmt.Errorf("%w within %s", ErrNoAnswer, timeout)
	}
	switch status.Code(err) {
	case codes.PermissionDenied:
		return nil, fmt.Errorf("%w: %w", ErrNotIssued, err)
	case codes.DeadlineExceeded:
		return nil, fmt.Errorf("%w within %s", ErrNoAnswer, timeout)
	case codes.Unavailable:
		// gRPC has the cause as text only; another attempt has it as an error.
		if cause := dial(limited, address); cause != nil {
			err = cause
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

// dial connects and hangs up, for its error.
func dial(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	network, target := "tcp", u.Host
	if u.Scheme == "unix" {
		network, target = "unix", u.Path
		if u.Opaque != "" {
			target = u.Opaque
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, target)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Pick returns the first of svids that has the role, or a *MissingRoleError.
func Pick(svids []*x509svid.SVID, roles *role.Domains, want role.Role) (*x509svid.SVID, error) {
	missing := &MissingRoleError{Want: want}
	for _, svid := range svids {
		if roles.Of(svid.ID) == want {
			return svid, nil
		}
		missing.Offered = append(missing.Offered, svid.ID)
	}
	return nil, missing
}
