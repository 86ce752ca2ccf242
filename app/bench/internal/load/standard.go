package load

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
)

// standard is a caller that uses net/http's client, over one connection of its own.
type standard struct {
	base      string
	transport *http.Transport
}

func newStandard(address string, config *tls.Config) *standard {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &standard{base: "https://" + address, transport: &http.Transport{
		TLSClientConfig: config, MaxConnsPerHost: 1, Protocols: protocols,
	}}
}

// do is caller's.
func (s *standard) do(r *Request) error {
	req, err := http.NewRequest(http.MethodPost, s.base+r.target, strings.NewReader(r.body)) //nolint:noctx // a run ends by its own count and time
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	return r.check(res.StatusCode, body)
}

// close is caller's.
func (s *standard) close() error {
	s.transport.CloseIdleConnections()
	return nil
}
