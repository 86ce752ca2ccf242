package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ErrExpiredPeer is why a request on a connection that outlived its peer's
// certificate is refused.
var ErrExpiredPeer = errors.New("the peer's certificate has expired")

// conn is a connection that remembers who is at its other end. A kept-alive one
// outlives the certificate, and the bundle, that it was checked against.
type conn struct {
	net.Conn
	maxAge time.Duration
	// peer is whose certificate was shown, and accepted. Only when the handshake is
	// over is it known that the other end has its key.
	peer     atomic.Pointer[peer]
	unwanted atomic.Bool // closed for its peer's others
	place    *place      // the books' part of it, by their mutex; nil when it is not in them

	reading, writing deadline
}

func newConn(c net.Conn, maxAge time.Duration) *conn {
	return &conn{
		Conn: c, maxAge: maxAge, reading: deadline{set: c.SetReadDeadline}, writing: deadline{set: c.SetWriteDeadline},
	}
}

type peer struct {
	id    spiffeid.ID
	chain []*x509.Certificate
	ends  time.Time // when the chain stops being valid
	// retire is when the connection should end on an answer: at its maximum age,
	// or well before its peer's certificate ends, so that a client that has a
	// newer one meanwhile never sees a refusal.
	retire  time.Time
	refused atomic.Bool // and logged
	bundle  atomic.Pointer[x509bundle.Bundle]
	mu      sync.Mutex // one verification at a time
}

// newPeer returns the holder of chain, which bundle vouches for.
func newPeer(id spiffeid.ID, chain []*x509.Certificate, bundle *x509bundle.Bundle) *peer {
	p := &peer{id: id, chain: chain, ends: notAfter(chain)}
	p.bundle.Store(bundle)
	return p
}

func (c *conn) established(id spiffeid.ID, chain []*x509.Certificate, bundle *x509bundle.Bundle) {
	now := time.Now()
	p := newPeer(id, chain, bundle)
	p.retire = now.Add(min(c.maxAge, p.ends.Sub(now)/2))
	c.peer.Store(p)
}

// bare returns the conn beneath a server's TLS connection.
func bare(c net.Conn) *conn {
	t, ok := c.(*tls.Conn)
	if !ok {
		return nil
	}
	b, ok := t.NetConn().(*conn)
	if !ok {
		return nil
	}
	return b
}

// check says whether the peer is still whom it was let in as. It costs two
// comparisons unless the bundle changed.
func (p *peer) check(bundles x509bundle.Source, now time.Time) error {
	if now.After(p.ends) {
		return fmt.Errorf("%w: %s", ErrExpiredPeer, p.id)
	}
	current, err := bundles.GetX509BundleForTrustDomain(p.id.TrustDomain())
	if err != nil {
		return fmt.Errorf("bundle of %s: %w", p.id.TrustDomain(), err)
	}
	if current == p.bundle.Load() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, used, err := verify(p.chain, bundles)
	if err != nil {
		return err
	}
	p.bundle.Store(used)
	return nil
}

// listener hands out conns.
type listener struct {
	net.Listener
	maxAge time.Duration
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c, l.maxAge), nil
}
