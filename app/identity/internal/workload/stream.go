package workload

import (
	"context"
	"slices"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/spiffe/spike/app/identity/internal/attest"
	"github.com/spiffe/spike/app/identity/internal/authority"
)

// longestSleep bounds how late a stream is after the machine itself slept:
// timers stand still then, certificates do not.
const longestSleep = 10 * time.Second

// FetchX509SVID streams the caller's SVIDs, again at half their life and when
// the entries change.
func (s *Server) FetchX509SVID(_ *api.X509SVIDRequest, stream grpc.ServerStreamingServer[api.X509SVIDResponse]) error {
	var held wallet
	return s.follow(stream.Context(), func(now *state, ids []spiffeid.ID) (time.Time, error) {
		changed, err := held.fill(now, ids)
		if err != nil {
			s.logger.Error("an SVID could not be issued", "error", err)
			return time.Time{}, status.Error(codes.Internal, "the SVID could not be issued")
		}
		if changed {
			err = stream.Send(held.response(now.ca.Bundle()))
		}
		return held.rotateAt(), err
	})
}

// FetchX509Bundles streams the trust domain's bundle to callers that have an
// identity.
func (s *Server) FetchX509Bundles(_ *api.X509BundlesRequest, stream grpc.ServerStreamingServer[api.X509BundlesResponse]) error {
	var sent *authority.Authority
	return s.follow(stream.Context(), func(now *state, _ []spiffeid.ID) (time.Time, error) {
		var err error
		if now.ca != sent {
			err = stream.Send(&api.X509BundlesResponse{
				Bundles: map[string][]byte{now.set.TrustDomain.IDString(): now.ca.Bundle()},
			})
			sent = now.ca
		}
		return time.Now().Round(0).Add(now.set.TTL / 2), err
	})
}

// follow attests the caller and has its SPIFFE IDs delivered, again whenever the
// entries change and at the time that deliver returned last. It ends with the
// stream, with the server, or when no entry matches the caller any more.
func (s *Server) follow(ctx context.Context, deliver func(*state, []spiffeid.ID) (time.Time, error)) error {
	caller, err := callerOf(ctx)
	if err != nil {
		return err
	}
	if !s.streams.Take(caller.UID()) {
		return status.Error(codes.ResourceExhausted, "this user has as many streams open as one user may")
	}
	defer s.streams.Give(caller.UID())
	for {
		// The channel belongs to the state: a change after this line wakes wait, so
		// that none is missed.
		now, changed := s.current()
		seen := caller.Look()
		ids := identities(seen, now)
		if len(ids) == 0 {
			s.unmatched.report(seen)
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		again, err := deliver(now, ids)
		if err != nil {
			return err
		}
		if err := s.wait(ctx, changed, again); err != nil {
			return err
		}
	}
}

// callerOf returns what the transport credentials found out. Anything else would
// be a server that was put together wrongly, and gets no identity.
func callerOf(ctx context.Context) (*attest.Peer, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if caller, ok := p.AuthInfo.(*attest.Peer); ok {
			return caller, nil
		}
	}
	return nil, status.Error(codes.Internal, "the caller could not be attested")
}

// identities returns the IDs of the entries that match, in their order and each
// once: clients take the first.
func identities(seen attest.Caller, now *state) []spiffeid.ID {
	var ids []spiffeid.ID
	for _, e := range now.set.Entries {
		if !slices.Contains(ids, e.ID) && seen.Matches(e) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// wait returns nil when it is time to look again.
func (s *Server) wait(ctx context.Context, changed <-chan struct{}, until time.Time) error {
	for {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, longestSleep))
		select {
		case <-timer.C:
			continue
		case <-changed:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return status.FromContextError(ctx.Err()).Err()
		case <-s.stopping:
			timer.Stop()
			// Not Canceled, which stock clients take as their own wish to end.
			return status.Error(codes.Unavailable, "the identity provider is stopping")
		}
	}
}

// wallet is the SVIDs that one stream was given, so that what is still good is
// not made anew with every change of the entries.
type wallet struct {
	ca    *authority.Authority
	ttl   time.Duration
	svids []*authority.SVID
}

// fill makes the wallet hold one SVID for each of ids, in their order, and tells
// whether it was changed by that.
func (w *wallet) fill(now *state, ids []spiffeid.ID) (bool, error) {
	if w.ca != now.ca || w.ttl != now.set.TTL {
		*w = wallet{ca: now.ca, ttl: now.set.TTL}
	}
	have := make(map[spiffeid.ID]*authority.SVID, len(w.svids))
	for _, svid := range w.svids {
		if time.Now().Before(svid.RotateAt) {
			have[svid.ID] = svid
		}
	}
	svids := make([]*authority.SVID, 0, len(ids))
	for _, id := range ids {
		svid := have[id]
		if svid == nil {
			var err error
			if svid, err = now.ca.Issue(id, now.set.TTL); err != nil {
				return false, err
			}
		}
		svids = append(svids, svid)
	}
	changed := !slices.Equal(svids, w.svids)
	w.svids = svids
	return changed, nil
}

// rotateAt is when the first of the SVIDs is due.
func (w *wallet) rotateAt() time.Time {
	at := w.svids[0].RotateAt
	for _, svid := range w.svids[1:] {
		if svid.RotateAt.Before(at) {
			at = svid.RotateAt
		}
	}
	return at
}

// response leaves the hints empty, since none is needed to tell SVIDs apart.
func (w *wallet) response(bundle []byte) *api.X509SVIDResponse {
	r := &api.X509SVIDResponse{Svids: make([]*api.X509SVID, 0, len(w.svids))}
	for _, svid := range w.svids {
		r.Svids = append(r.Svids, &api.X509SVID{
			SpiffeId:    svid.ID.String(),
			X509Svid:    svid.Cert,
			X509SvidKey: svid.PrivateKey(),
			Bundle:      bundle,
		})
	}
	return r
}
