package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/role"
)

// source returns the identity that a case's WHO stands for. It trusts home alone.
func (w *world) source(who string) (*identitytest.Source, error) {
	path, domain, ok := strings.Cut(who, "@")
	if !ok {
		domain = home
	}
	if !strings.HasPrefix(path, "/") {
		for r := role.Nexus; r <= role.Lite; r++ {
			if r.String() == path {
				path = r.Path()
			}
		}
	}
	if w.domains[domain] == nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is nobody", who)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := path + "@" + domain
	if w.sources[key] == nil {
		w.sources[key] = w.domains[domain].Source(path, w.domains[home])
	}
	return w.sources[key], nil
}

// transport returns a way to call servers of a role, put together as the SDK does:
// from go-spiffe alone.
func transport(s *identitytest.Source, server role.Role) *http.Transport {
	return &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(s, s, tlsconfig.AdaptMatcher(func(id spiffeid.ID) error {
		if root := server.Path(); id.Path() != root && !strings.HasPrefix(id.Path(), root+"/") {
			return fmt.Errorf("%s is no %s", id, server)
		}
		return nil
	}))}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	major  int // of the protocol's version
	// resumed: the connection went on with an earlier one's session.
	resumed bool
}

// send sends one request and reads the whole of what comes back.
func send(ctx context.Context, to *http.Transport, base *url.URL, method, target, kind, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// Not url.Parse: a target may be one that it would refuse.
	u := *base
	u.Path, u.RawQuery, _ = strings.Cut(target, "?")
	req, err := http.NewRequestWithContext(ctx, method, base.String(), strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.URL = &u
	req.Header.Set("Content-Type", kind)
	res, err := (&http.Client{Transport: to}).Do(req)
	if err != nil {
		return answer{}, err
	}
	content, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return answer{status: res.StatusCode, header: res.Header, body: string(content), major: res.ProtoMajor, resumed: res.TLS.DidResume}, err
}
