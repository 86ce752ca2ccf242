// Package identitytest is a trust domain in memory, for tests that make real
// TLS handshakes and need no Workload API.
package identitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Domain is a trust domain with a certificate authority of its own.
type Domain struct {
	t   testing.TB
	td  spiffeid.TrustDomain
	key *ecdsa.PrivateKey
	ca  *x509.Certificate
}

// NewDomain makes a trust domain. Two of the same name do not trust each other.
func NewDomain(t testing.TB, name string) *Domain {
	t.Helper()
	td := spiffeid.RequireTrustDomainFromString(name)
	key := newKey(t)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{td.ID().URL()},
	}
	return &Domain{t: t, td: td, key: key, ca: sign(t, template, template, key, key)}
}

// Bundle returns the domain's bundle, a new one every time.
func (d *Domain) Bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(d.td, []*x509.Certificate{d.ca})
}

// SVID returns an X.509-SVID for a path of the domain, valid for life from now,
// or expired when life is negative.
func (d *Domain) SVID(path string, life time.Duration) *x509svid.SVID {
	d.t.Helper()
	id, err := spiffeid.FromPath(d.td, path)
	if err != nil {
		d.t.Fatal(err)
	}
	key := newKey(d.t)
	now := time.Now()
	template := &x509.Certificate{
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(life),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{id.URL()},
	}
	return &x509svid.SVID{
		ID:           id,
		Certificates: []*x509.Certificate{sign(d.t, template, d.ca, key, d.key)},
		PrivateKey:   key,
	}
}

// Source returns the identity of a path of the domain, for an hour, trusting
// this domain and the others given.
func (d *Domain) Source(path string, others ...*Domain) *Source {
	d.t.Helper()
	s := &Source{svid: d.SVID(path, time.Hour)}
	s.Trust(append([]*Domain{d}, others...)...)
	return s
}

// Source is an identity and what it trusts, both of which can change while it is
// in use. It implements go-spiffe's x509svid.Source and x509bundle.Source.
type Source struct {
	mu      sync.RWMutex
	svid    *x509svid.SVID
	bundles *x509bundle.Set
}

// Use replaces the SVID.
func (s *Source) Use(svid *x509svid.SVID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.svid = svid
}

// Trust replaces the trusted domains.
func (s *Source) Trust(domains ...*Domain) {
	set := x509bundle.NewSet()
	for _, d := range domains {
		set.Add(d.Bundle())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundles = set
}

// GetX509SVID implements x509svid.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (s *Source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bundles.GetX509BundleForTrustDomain(td)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
