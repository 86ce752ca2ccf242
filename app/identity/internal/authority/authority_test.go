package authority

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

var domain = spiffeid.RequireTrustDomainFromString("example.org")

func TestIssuedSVIDsVerify(t *testing.T) {
	ca, err := New(domain)
	if err != nil {
		t.Fatal(err)
	}
	id := spiffeid.RequireFromPath(domain, "/spike/nexus")
	issued, err := ca.Issue(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := x509svid.ParseRaw(issued.Cert, issued.PrivateKey())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := x509bundle.ParseRaw(domain, ca.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := x509svid.Verify(svid.Certificates, bundle)
	if err != nil || got != id {
		t.Errorf("verified as %q, %v", got, err)
	}

	other, err := New(domain)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := x509bundle.ParseRaw(domain, other.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(svid.Certificates, foreign); err == nil {
		t.Error("another authority of the same trust domain vouches for it")
	}
}

// What the X.509-SVID specification asks of certificates, sections 2 to 4.
func TestCertificatesFollowTheSpecification(t *testing.T) {
	ca, err := New(domain)
	if err != nil {
		t.Fatal(err)
	}
	root := ca.cert
	if len(root.URIs) != 1 || root.URIs[0].String() != "spiffe://example.org" {
		t.Errorf("CA names %v", root.URIs)
	}
	if !root.IsCA || !root.BasicConstraintsValid || root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("CA: is CA %v, usage %b", root.IsCA, root.KeyUsage)
	}

	issued, err := ca.Issue(spiffeid.RequireFromPath(domain, "/a"), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(issued.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://example.org/a" {
		t.Errorf("SVID names %v", leaf.URIs)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("SVID: is CA %v, usage %b", leaf.IsCA, leaf.KeyUsage)
	}
	if len(leaf.ExtKeyUsage) != 2 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || leaf.ExtKeyUsage[1] != x509.ExtKeyUsageClientAuth {
		t.Errorf("SVID: extended usage %v", leaf.ExtKeyUsage)
	}
}

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := New(domain)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(700 * time.Millisecond)
		for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second, time.Hour} {
			now := time.Now()
			svid, err := ca.Issue(spiffeid.RequireFromPath(domain, "/a"), ttl)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(svid.Cert)
			if err != nil {
				t.Fatal(err)
			}
			if !leaf.NotAfter.Equal(svid.NotAfter) {
				t.Errorf("ends at %s, said to at %s", leaf.NotAfter, svid.NotAfter)
			}
			if life := leaf.NotAfter.Sub(now); life < ttl || life >= ttl+time.Second {
				t.Errorf("lives %s instead of %s", life, ttl)
			}
			if left := leaf.NotAfter.Sub(svid.RotateAt); left != ttl/2 {
				t.Errorf("%s of %s left when rotated", left, ttl)
			}
			if !leaf.NotBefore.Before(now.Add(-20*time.Second)) || leaf.NotBefore.Before(ca.cert.NotBefore.Add(-time.Second)) {
				t.Errorf("begins at %s, the CA at %s, now is %s", leaf.NotBefore, ca.cert.NotBefore, now)
			}
		}
	})
}

func TestForeignIDIsRefused(t *testing.T) {
	ca, err := New(domain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Issue(spiffeid.RequireFromString("spiffe://other.org/a"), time.Hour); err == nil {
		t.Error("an ID of another trust domain was issued")
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	ca, err := New(domain)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := ca.Issue(spiffeid.RequireFromPath(domain, "/a"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, svid); !strings.HasPrefix(got, "SVID spiffe://example.org/a until ") || len(got) > 80 {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, ca); got != "authority of example.org" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
