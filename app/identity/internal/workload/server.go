// Package workload serves the X.509 part of the SPIFFE Workload API on a Unix
// socket.
package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/spiffe/spike/app/identity/internal/attest"
	"github.com/spiffe/spike/app/identity/internal/authority"
	"github.com/spiffe/spike/app/identity/internal/entry"
)

const (
	// stopTime is how long a stop waits for clients that do not read.
	stopTime = 5 * time.Second

	// Requests are empty, so these are far more than any client needs.
	maxRequestSize = 64 << 10
	maxHeaderSize  = 16 << 10

	// Small buffers, since there are many connections with little on them.
	readBufferSize = 4 << 10

	streamsPerConnection = 64
	handshakeTime        = 10 * time.Second
	idleTime             = 10 * time.Minute
)

// Server issues SVIDs to attested callers and keeps open streams up to date.
type Server struct {
	api.UnimplementedSpiffeWorkloadAPIServer

	logger    *slog.Logger
	streams   *attest.Quota
	unmatched *unmatched

	// stopping is closed when open streams are to end.
	stopping chan struct{}

	mu  sync.Mutex
	now *state

	// changed is closed, and replaced, when now is.
	changed chan struct{}
}

// state is what answers are made from. It is never changed, only replaced.
type state struct {
	set *entry.Set
	ca  *authority.Authority
}

// New makes a server with a CA of its own. streams bounds the open streams of
// each user.
func New(set *entry.Set, streams *attest.Quota, logger *slog.Logger) (*Server, error) {
	s := &Server{
		logger:    logger,
		streams:   streams,
		unmatched: newUnmatched(logger),
		stopping:  make(chan struct{}),
		now:       &state{},
		changed:   make(chan struct{}),
	}
	if err := s.Update(set); err != nil {
		return nil, err
	}
	return s, nil
}

// Update puts set in force and has every open stream attested again. The CA
// stays unless the trust domain is another.
func (s *Server) Update(set *entry.Set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ca := s.now.ca
	if ca == nil || ca.TrustDomain() != set.TrustDomain {
		var err error
		if ca, err = authority.New(set.TrustDomain); err != nil {
			return err
		}
	}
	s.now = &state{set: set, ca: ca}
	close(s.changed)
	s.changed = make(chan struct{})
	s.unmatched.forget()
	return nil
}

func (s *Server) current() (*state, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.changed
}

// Serve answers on listener, and closes it, until ctx ends or the listener
// fails. It can be called once.
func (s *Server) Serve(ctx context.Context, listener net.Listener, creds credentials.TransportCredentials) error {
	g := grpc.NewServer(
		grpc.Creds(creds),
		grpc.UnaryInterceptor(unaryHeader),
		grpc.StreamInterceptor(streamHeader),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.MaxConcurrentStreams(streamsPerConnection),
		grpc.MaxRecvMsgSize(maxRequestSize),
		grpc.MaxHeaderListSize(maxHeaderSize),
		grpc.ReadBufferSize(readBufferSize),
		grpc.SharedWriteBuffer(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime}),
	)
	api.RegisterSpiffeWorkloadAPIServer(g, s)

	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	select {
	case err := <-served:
		close(s.stopping)
		g.Stop()
		return fmt.Errorf("serve the Workload API: %w", err)
	case <-ctx.Done():
	}

	// Streams end by themselves; a graceful stop alone would wait for them.
	close(s.stopping)
	stopped := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopTime):
		g.Stop()
		<-stopped
	}
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the Workload API: %w", err)
	}
	return nil
}

// checkHeader wants the metadata that every Workload API client sends. It keeps
// out whoever was tricked into forwarding a request to the socket (SPIFFE
// Workload Endpoint, section 3).
func checkHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request: workload.spiffe.io must be true")
	}
	return nil
}

func unaryHeader(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func streamHeader(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	return next(srv, stream)
}
