// Package mtls is mutual TLS between holders of X.509-SVIDs: configurations for
// both ends, and an HTTP server that knows, at every request, who is calling.
//
// It takes go-spiffe's interfaces, never a concrete Workload API source. A
// source must hand out a new *x509bundle.Bundle when a bundle changes, as the
// Workload API's does, rather than change one that it handed out.
package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ErrWrongPeer is returned when the other end has a valid identity, but not one
// that is expected there.
var ErrWrongPeer = errors.New("the peer's SPIFFE ID is not one that is expected here")

// verify checks a peer's chain against its trust domain's present bundle. It
// returns the bundle that was used, since a later one may say otherwise.
func verify(chain []*x509.Certificate, bundles x509bundle.Source) (spiffeid.ID, *x509bundle.Bundle, error) {
	if len(chain) == 0 {
		return spiffeid.ID{}, nil, errors.New("the peer presented no certificate")
	}
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return spiffeid.ID{}, nil, fmt.Errorf("peer's certificate: %w", err)
	}
	bundle, err := bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return id, nil, fmt.Errorf("bundle of %s: %w", id.TrustDomain(), err)
	}
	if _, _, err := x509svid.Verify(chain, bundle); err != nil {
		return id, nil, fmt.Errorf("verify %s: %w", id, err)
	}
	return id, bundle, nil
}

// ClientConfig returns the TLS configuration of a client that presents its SVID
// and talks only to servers that expect accepts.
func ClientConfig(svid x509svid.Source, bundles x509bundle.Source, expect func(spiffeid.ID) bool) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: tlsconfig.GetClientCertificate(svid),
		// The chain is verified below, against SPIFFE bundles and not host names.
		// VerifyConnection, unlike VerifyPeerCertificate, also runs when a session
		// is resumed.
		InsecureSkipVerify: true, //nolint:gosec // what it skips is done by VerifyConnection, for SPIFFE
		VerifyConnection: func(state tls.ConnectionState) error {
			id, _, err := verify(state.PeerCertificates, bundles)
			if err != nil {
				return err
			}
			if !expect(id) {
				return fmt.Errorf("%w: %s", ErrWrongPeer, id)
			}
			return nil
		},
	}
}

// ServerTLS returns the TLS configuration of a server that lets in whom accept
// accepts. It keeps nothing of them: behind a [Server], which knows its peers at
// every request, it is not needed.
func ServerTLS(svid x509svid.Source, bundles x509bundle.Source, accept func(spiffeid.ID) bool) *tls.Config {
	config := serverBase(svid)
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, _, err := verifyAccepted(state, bundles, accept)
		return err
	}
	return config
}

func serverBase(svid x509svid.Source) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"},
		ClientAuth:     tls.RequireAnyClientCert,
		GetCertificate: tlsconfig.GetCertificate(svid),
		// A resumed session would skip what was withdrawn since.
		SessionTicketsDisabled: true,
	}
}

func verifyAccepted(state tls.ConnectionState, bundles x509bundle.Source, accept func(spiffeid.ID) bool) (spiffeid.ID, *x509bundle.Bundle, error) {
	id, bundle, err := verify(state.PeerCertificates, bundles)
	if err == nil && !accept(id) {
		err = fmt.Errorf("%w: %s", ErrWrongPeer, id)
	}
	return id, bundle, err
}

// serverConfig returns the configuration of a server. Whom it let in, and by
// which bundle, is kept with the connection: conn must be accepted by listener.
func serverConfig(server ServerConfig) *tls.Config {
	base := serverBase(server.SVID)
	if server.HTTP1Only {
		base.NextProtos = []string{"http/1.1"}
	}
	config := base.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, ok := hello.Conn.(*conn)
		if !ok {
			return nil, fmt.Errorf("connection of type %T is not one of this server's", hello.Conn)
		}
		own := base.Clone()
		own.VerifyConnection = func(state tls.ConnectionState) error {
			id, bundle, err := verifyAccepted(state, server.Bundles, server.Accept)
			if err != nil {
				return err
			}
			c.established(id, state.PeerCertificates, bundle)
			return nil
		}
		return own, nil
	}
	return config
}

// notAfter is when a chain stops being valid: with its first certificate.
func notAfter(chain []*x509.Certificate) time.Time {
	earliest := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(earliest) {
			earliest = c.NotAfter
		}
	}
	return earliest
}
