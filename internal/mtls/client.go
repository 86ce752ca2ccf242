package mtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// errStale is why a kept connection is not used again. No caller sees it.
var errStale = errors.New("the connection is older than the identities of its ends")

// CheckKept makes an HTTP/1.1 transport check, at each request on a connection
// that it kept, that the server is still trusted and that the connection was
// made with the SVID that svid has now; else the request goes over a new one,
// body and all if it has a GetBody. The transport's TLSClientConfig is a
// [ClientConfig] of the same sources. CheckKept comes after its other settings.
func CheckKept(transport *http.Transport, svid x509svid.Source, bundles x509bundle.Source) {
	dial, config, limit := transport.DialContext, transport.TLSClientConfig, transport.TLSHandshakeTimeout
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		// Asked for before the handshake, it is at worst older than what is shown.
		own, err := svid.GetX509SVID()
		if err != nil {
			return nil, err
		}
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		named := config.Clone()
		named.ServerName = host
		c := tls.Client(raw, named)
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		if err := c.HandshakeContext(ctx); err != nil {
			_ = raw.Close() // the handshake's error is the one that says why
			return nil, err
		}
		chain := c.ConnectionState().PeerCertificates
		id, err := x509svid.IDFromCert(chain[0])
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		// Which bundle the handshake used is not known here: the first request
		// verifies once more, and remembers.
		return &keptConn{Conn: c, svid: svid, bundles: bundles, own: own, server: newPeer(id, chain, nil)}, nil
	}
}

// keptConn fails a request's first write when the connection should not be used
// again. [http.Transport] then knows that nothing was sent, and takes another
// connection, even for a POST.
type keptConn struct {
	net.Conn
	svid    x509svid.Source
	bundles x509bundle.Source
	own     *x509svid.SVID // that was shown to the server
	server  *peer

	used     bool        // there was a request already
	answered atomic.Bool // something was read since the last write
}

func (c *keptConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	// What follows "100 Continue" is not a new request, but the body of this one.
	if n > 0 && !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 1")) {
		c.answered.Store(true)
	}
	return n, err
}

// Write is called by one goroutine at a time.
func (c *keptConn) Write(b []byte) (int, error) {
	// What follows an answer is a new request.
	if answered := c.answered.Swap(false); answered || !c.used {
		if err := c.server.check(c.bundles, time.Now()); err != nil {
			return 0, err
		}
		// The first request is not tried again, and needs not be: what it was
		// dialed with was valid a moment ago.
		if c.used && !c.current() {
			return 0, errStale
		}
		c.used = true
	}
	return c.Conn.Write(b)
}

// current says whether the SVID in use is still the one that was shown.
func (c *keptConn) current() bool {
	now, err := c.svid.GetX509SVID()
	if err != nil {
		return false
	}
	// A source may parse the same SVID anew.
	return now == c.own || bytes.Equal(now.Certificates[0].Raw, c.own.Certificates[0].Raw)
}
