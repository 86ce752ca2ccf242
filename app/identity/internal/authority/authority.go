// Package authority is a certificate authority for one trust domain that lives
// in memory: nothing of it is ever written, and it ends with the process.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// backdate allows for readers whose clock is a little behind.
	backdate = 30 * time.Second

	// lifetime is longer than any process is meant to run: the CA is renewed by
	// a restart, which makes a new one.
	lifetime = 10 * 365 * 24 * time.Hour
)

// Authority signs X.509-SVIDs for one trust domain. It is safe for concurrent use.
type Authority struct {
	domain spiffeid.TrustDomain
	cert   *x509.Certificate
	key    crypto.Signer
}

// SVID is an X.509-SVID with its private key. It prints without the key.
type SVID struct {
	ID spiffeid.ID

	// Cert is the certificate, DER. The authority signs it directly, so that
	// there are no intermediates.
	Cert []byte

	NotAfter time.Time

	// RotateAt is when half of its life is over. Like NotAfter it is a time of
	// the wall clock, which goes on while a machine sleeps.
	RotateAt time.Time

	key []byte
}

// PrivateKey returns the private key, PKCS #8 in DER.
func (s *SVID) PrivateKey() []byte { return s.key }

// Format implements [fmt.Formatter], for every verb.
func (s *SVID) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "SVID %s until %s", s.ID, s.NotAfter.Format(time.RFC3339))
}

// New makes a CA with a fresh key.
func New(domain spiffeid.TrustDomain) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		// Equal names would make clients try the wrong one of two CAs first
		// while bundles of a stopped provider are still around.
		Subject:               pkix.Name{Organization: []string{"SPIKE local identity"}, SerialNumber: serial.Text(16)},
		URIs:                  []*url.URL{domain.ID().URL()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the CA certificate: %w", err)
	}
	return &Authority{domain: domain, cert: cert, key: key}, nil
}

// Format implements [fmt.Formatter], for every verb, so that the key is never
// printed.
func (a *Authority) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "authority of %s", a.domain.Name())
}

// TrustDomain is the one that this authority signs for.
func (a *Authority) TrustDomain() spiffeid.TrustDomain { return a.domain }

// Bundle returns the trust domain's X.509 bundle: the CA certificate, DER.
func (a *Authority) Bundle() []byte { return a.cert.Raw }

// Issue makes a key and signs a certificate for id that lives for ttl.
func (a *Authority) Issue(id spiffeid.ID, ttl time.Duration) (*SVID, error) {
	if !id.MemberOf(a.domain) {
		return nil, fmt.Errorf("%s is not in trust domain %s", id, a.domain.Name())
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key for %s: %w", id, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", id, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	// Certificates count in whole seconds. Rounding up keeps a short ttl from
	// losing much of itself.
	notAfter := now.Add(ttl + time.Second - time.Nanosecond).Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"SPIKE"}},
		URIs:                  []*url.URL{id.URL()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", id, err)
	}
	return &SVID{ID: id, Cert: der, NotAfter: notAfter, RotateAt: notAfter.Add(-ttl / 2), key: keyDER}, nil
}

// newSerial follows RFC 5280: positive, at most 20 bytes, and random so that no
// count of certificates needs to be kept.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choose a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
