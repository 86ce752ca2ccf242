// Package domain is a trust domain in memory, and a SPIFFE Workload API that gives
// its identities to the programs that are measured. They cannot tell it from SPIRE.
package domain

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// lifetime is longer than any run: an SVID that is replaced would be work that
// nobody asked for.
const lifetime = 24 * time.Hour

// Domain is a trust domain with a certificate authority.
type Domain struct {
	name   spiffeid.TrustDomain
	key    *ecdsa.PrivateKey
	ca     *x509.Certificate
	serial int64
	served
}

// New makes a trust domain whose sockets are in folder. The caller closes it.
func New(name, folder string) (*Domain, error) {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	d := &Domain{name: td, key: key, served: served{folder: folder}}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		URIs:                  []*url.URL{td.ID().URL()},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	d.ca, err = d.sign(template, template, key)
	return d, err
}

// Bundles is what everybody trusts.
func (d *Domain) Bundles() *x509bundle.Set {
	return x509bundle.NewSet(x509bundle.FromX509Authorities(d.name, []*x509.Certificate{d.ca}))
}

// SVID makes an identity: a path of the domain.
func (d *Domain) SVID(path string) (*x509svid.SVID, error) {
	id, err := spiffeid.FromPath(d.name, path)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := d.sign(&x509.Certificate{
		URIs:                  []*url.URL{id.URL()},
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, d.ca, key)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", id, err)
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{certificate}, PrivateKey: key}, nil
}

func (d *Domain) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	d.serial++
	template.SerialNumber = big.NewInt(d.serial)
	template.NotBefore = time.Now().Add(-time.Minute)
	template.NotAfter = time.Now().Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), d.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
