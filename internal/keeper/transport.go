package keeper

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/spiffe/spike/internal/mtls"
)

// NewHTTPClient returns the client that all of a Nexus's Keeper clients share.
// It talks only to peers whose identity expect accepts.
func NewHTTPClient(svid x509svid.Source, bundles x509bundle.Source, expect func(spiffeid.ID) bool) *http.Client {
	return NewWatchedHTTPClient(svid, bundles, expect, nil)
}

// NewWatchedHTTPClient is NewHTTPClient with a function that is told the address
// (host:port) of a Keeper whenever a connection to it has ended, from whichever
// end: a Keeper that died is noticed then, and not at the next look. The
// function must not block.
func NewWatchedHTTPClient(svid x509svid.Source, bundles x509bundle.Source,
	expect func(spiffeid.ID) bool, ended func(address string)) *http.Client {
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAliveConfig: net.KeepAliveConfig{
		// A Keeper that restarted behind a silent partition answers the first probe
		// after the partition's end with a reset; one that stays away for 8 s is
		// looked for by new connections.
		Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 2,
	}}
	dial := dialer.DialContext
	if ended != nil {
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: c, ended: func() { ended(address) }}, nil
		}
	}
	transport := &http.Transport{
		// A share goes where it was meant to go, never through a proxy.
		Proxy:                  nil,
		DialContext:            dial,
		TLSClientConfig:        mtls.ClientConfig(svid, bundles, expect),
		TLSHandshakeTimeout:    3 * time.Second,
		ResponseHeaderTimeout:  3 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
		// Shorter than the server's 120 s, so that it is never the server that
		// ends a connection just when a request is written to it.
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 2,
		DisableCompression:  true,
	}
	mtls.CheckKept(transport, svid, bundles)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type watchedConn struct {
	net.Conn
	once  sync.Once
	ended func()
}

func (c *watchedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.ended)
	return err
}

// body is a request's body that can be wiped while the transport still holds
// it: a call that timed out returns before its writer has noticed.
type body struct {
	mu      sync.Mutex
	content []byte // nil once wiped
}

func (b *body) reader() io.ReadCloser { return &bodyReader{body: b} }

func (b *body) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.content)
	b.content = nil
}

type bodyReader struct {
	body   *body
	offset int
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	if r.body.content == nil {
		return 0, io.ErrClosedPipe
	}
	n := copy(p, r.body.content[r.offset:])
	r.offset += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*bodyReader) Close() error { return nil }
