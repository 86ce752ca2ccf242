package rig

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/spiffe/spike/app/bench/internal/domain"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

func workloadPath(i int) string { return fmt.Sprintf("/bench/%04d", i) }

// Ground is what all clusters have in common: a folder on the disk that is
// measured, and everybody's identity.
type Ground struct {
	Folder string
	// Identities are the workloads' ends of TLS.
	Identities []*tls.Config

	domain  *domain.Domain
	sockets map[role.Role]string // where each role gets its identity
}

// NewGround makes a new folder in parent, which is made if need be, and so many
// workloads. The caller closes the ground after the clusters that are on it.
func NewGround(parent string, workloads int) (g *Ground, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	g = &Ground{sockets: map[role.Role]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
			g = nil
		}
	}()
	if g.Folder, err = os.MkdirTemp(parent, "ground-"); err != nil {
		return g, err
	}
	// The processes of a cluster may have another working directory.
	if g.Folder, err = filepath.Abs(g.Folder); err != nil {
		return g, err
	}
	if g.domain, err = domain.New(clustertest.TrustDomain, g.Folder); err != nil {
		return g, err
	}
	for _, r := range []role.Role{role.Nexus, role.Keeper, role.Superuser} {
		if g.sockets[r], err = g.domain.Serve(r.Path()); err != nil {
			return g, err
		}
	}
	// The ceiling's server is a server like any other.
	g.sockets[role.None] = g.sockets[role.Nexus]
	bundles := g.domain.Bundles()
	for i := range workloads {
		svid, err := g.domain.SVID(workloadPath(i))
		if err != nil {
			return g, err
		}
		g.Identities = append(g.Identities, clientConfig(svid, bundles))
	}
	return g, nil
}

// Close removes the folder.
func (g *Ground) Close() error {
	var err error
	if g.domain != nil {
		err = g.domain.Close()
	}
	if g.Folder != "" {
		err = errors.Join(err, os.RemoveAll(g.Folder))
	}
	return err
}

func (g *Ground) socket(r role.Role) string { return g.sockets[r] }

// clientConfig returns a workload's end of TLS. Everything about its certificate
// is worked out here, once: a client's effort tells nothing about a server.
func clientConfig(svid *x509svid.SVID, bundles *x509bundle.Set) *tls.Config {
	config := mtls.ClientConfig(svid, bundles, func(spiffeid.ID) bool { return true })
	certificate := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range svid.Certificates {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	return config
}
