package mtls

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ServerConfig configures a [Server]. A duration or count of zero has the
// default that is given with it.
type ServerConfig struct {
	Handler http.Handler
	SVID    x509svid.Source
	Bundles x509bundle.Source
	// Accept says which identities complete the handshake.
	Accept func(spiffeid.ID) bool
	Log    *slog.Logger

	ReadHeaderTimeout time.Duration // 10 s; the TLS handshake has as long
	ReadTimeout       time.Duration // 30 s for a whole request
	WriteTimeout      time.Duration // 60 s from the end of the header to the end of the answer
	IdleTimeout       time.Duration // 120 s; longer than any client of ours waits
	MaxAge            time.Duration // 1 h for a connection
	MaxConnections    int           // 8192
	// Account names whose connections are counted together: those of one account
	// are at most a quarter of MaxConnections. By default each identity has its own.
	Account func(spiffeid.ID) string
	// HTTP1Only turns HTTP/2 off, for a server whose clients never use it.
	HTTP1Only bool
}

// maxStreams is how many requests an HTTP/2 connection may have under way: its
// peer would otherwise have hundreds for each one that HTTP/1 allows.
const maxStreams = 32

// Server is an HTTP server (1.1 and 2) for peers with an X.509-SVID. Whoever a
// handler serves passed the checks at this very request, not only when the
// connection was made.
type Server struct {
	config ServerConfig
	http   *http.Server
	open   *connections
}

// NewServer returns a server that does not listen yet.
func NewServer(config ServerConfig) *Server {
	setDefault(&config.ReadHeaderTimeout, 10*time.Second)
	setDefault(&config.ReadTimeout, 30*time.Second)
	setDefault(&config.WriteTimeout, 60*time.Second)
	setDefault(&config.IdleTimeout, 120*time.Second)
	setDefault(&config.MaxAge, time.Hour)
	setDefault(&config.MaxConnections, 8192)
	if config.Account == nil {
		config.Account = spiffeid.ID.String
	}
	s := &Server{config: config, open: newConnections(config)}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!config.HTTP1Only)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		TLSConfig:         serverConfig(config),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: config.ReadHeaderTimeout,
		ReadTimeout:       config.ReadTimeout,
		WriteTimeout:      config.WriteTimeout,
		IdleTimeout:       config.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		// It would answer "OPTIONS *" past all checks.
		DisableGeneralOptionsHandler: true,
		ConnState:                    s.open.note,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, bare(c))
		},
		// Failed handshakes and the like: an operator looks for them, but anyone
		// who reaches the port can make them.
		ErrorLog: slog.NewLogLogger(config.Log.Handler(), slog.LevelInfo),
	}
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Serve answers on l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.ServeTLS(listener{l, s.config.MaxAge}, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops listening, waits for the requests under way, and closes what
// is left when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

type connKey struct{}
type peerKey struct{}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := connOf(r.Context())
	if c == nil || c.peer.Load() == nil {
		// No handshake, no request: only a fault of this package leads here.
		panic(http.ErrAbortHandler)
	}
	p := c.peer.Load()
	if c.unwanted.Load() {
		panic(http.ErrAbortHandler) // what it asked for is not done
	}
	now := time.Now()
	if err := p.check(s.config.Bundles, now); err != nil {
		// The answer to a peer that no longer authenticates is that of a failed
		// handshake: the connection ends, with all streams that it has in HTTP/2.
		// What is wrong with a connection that is not wanted does not matter.
		_ = c.Close()
		if p.refused.CompareAndSwap(false, true) {
			s.config.Log.Warn("refused a request on an open connection", "peer", p.id.String(), "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	if now.After(p.retire) {
		w.Header().Set("Connection", "close")
	}
	s.config.Handler.ServeHTTP(w, r)
}

func peerOf(ctx context.Context) *peer {
	if c := connOf(ctx); c != nil {
		return c.peer.Load()
	}
	p, ok := ctx.Value(peerKey{}).(*peer)
	if !ok {
		return nil
	}
	return p
}

func connOf(ctx context.Context) *conn {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return nil
	}
	return c
}

// PeerID returns the SPIFFE ID of the peer whose request ctx belongs to, as
// verified by a [Server].
func PeerID(ctx context.Context) (spiffeid.ID, bool) {
	p := peerOf(ctx)
	if p == nil {
		return spiffeid.ID{}, false
	}
	return p.id, true
}

// WithPeerID returns a context that belongs to a request of id's, for handlers
// that are tested without a connection.
func WithPeerID(ctx context.Context, id spiffeid.ID) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{id: id})
}
