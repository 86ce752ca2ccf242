// Package client calls Nexus. Answers that are errors come back as the same
// sentinels of package api that Nexus answered with.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/mtls"
)

const (
	defaultTimeout   = 30 * time.Second
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// idleTimeout is shorter than the server's 120 s: Go does not retry a POST on
	// a connection that the server just closed.
	idleTimeout = 60 * time.Second
	// maxAnswer has room for a secret of api.MaxBody whose every character became
	// an escape of six, and for a list of 100,000 of the longest paths.
	maxAnswer = 64 << 20
	// maxIdle lets a busy program use its connections again.
	maxIdle = 64
)

// Config configures a [Client].
type Config struct {
	URL     *url.URL // https://host:port
	SVID    x509svid.Source
	Bundles x509bundle.Source
	// Expect says which identities are Nexus.
	Expect func(spiffeid.ID) bool
	// Timeout is for a whole call; 30 s when it is zero.
	Timeout time.Duration
}

// Client calls one Nexus over connections that it keeps. It is safe for
// concurrent use.
type Client struct {
	base      *url.URL
	timeout   time.Duration
	transport *http.Transport
	http      *http.Client
}

// New returns a client. It connects at the first call.
func New(config Config) *Client {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	// There is no Proxy: what is asked for is this server and no other, and a
	// proxy from the environment could not read a word anyway.
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        marked(mtls.ClientConfig(config.SVID, config.Bundles, config.Expect)),
		TLSHandshakeTimeout:    handshakeTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
		Protocols:              protocols,
	}
	mtls.CheckKept(transport, config.SVID, config.Bundles)
	c := &Client{base: config.URL, timeout: config.Timeout, transport: transport}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close ends the idle connections. Calls under way are not disturbed.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// route is where a call goes and what it is called in errors.
type route struct{ op, path, action string }

// call posts in and reads the answer into out, and returns an *Error when it
// does not succeed.
func (c *Client) call(ctx context.Context, to route, in, out any) error {
	id, err := c.exchange(ctx, to, in, out)
	if err != nil {
		return &Error{Op: to.op, RequestID: id, Err: err}
	}
	return nil
}

func (c *Client) exchange(ctx context.Context, to route, in, out any) (id string, err error) {
	body, err := encode(in)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var reached progress
	ctx = httptrace.WithClientTrace(ctx, reached.trace())
	target := *c.base
	target.Path = to.path
	if to.action != "" {
		target.RawQuery = url.Values{"action": {to.action}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsendable, err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		// The URL that url.Error repeats is the route, which Op names already.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return "", transportError(err, &reached)
	}
	id = requestID(res.Header.Get(api.RequestIDHeader))
	answer, err := readAll(res.Body, &reached)
	// The answer is whole by now, or has its error.
	_ = res.Body.Close()
	if err != nil {
		return id, err
	}
	// Secrets and shards should not outlive their use in a buffer that nobody owns.
	defer clear(answer)
	err = decode(res.StatusCode, answer, out)
	if errors.Is(err, ErrProtocol) && ctx.Err() != nil {
		// A server that sees us leave may end its answer early and tidily.
		err = transportError(ctx.Err(), &reached)
	}
	return id, err
}

// Size returns how many bytes a request has once it is encoded. [api.MaxBody] is the
// most that can be sent.
func Size(in any) (int, error) {
	body, err := marshal(in)
	size := body.Len()
	clear(body.Bytes()) // it may have been a secret
	return size, err
}

func marshal(in any) (*bytes.Buffer, error) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	// Escapes for HTML would make a large value larger than it may be.
	e.SetEscapeHTML(false)
	if err := e.Encode(in); err != nil {
		return &body, fmt.Errorf("%w: %w", ErrUnsendable, err)
	}
	return &body, nil
}

func encode(in any) ([]byte, error) {
	body, err := marshal(in)
	if err != nil {
		return nil, err
	}
	if body.Len() > api.MaxBody {
		return nil, fmt.Errorf("%w: it has %d bytes; Nexus takes %d", ErrUnsendable, body.Len(), api.MaxBody)
	}
	return body.Bytes(), nil
}

func decode(status int, answer []byte, out any) error {
	// Every answer is one JSON object, with a code exactly when it is an error.
	var failed struct {
		Err api.Code `json:"err"`
	}
	if err := json.Unmarshal(answer, &failed); err != nil {
		// The cause is left out, since it may repeat a part of the answer.
		return fmt.Errorf("%w: status %d, and not the JSON that was expected", ErrProtocol, status)
	}
	if status != http.StatusOK || failed.Err != "" {
		return wireError(status, failed.Err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%w: a field is not what was expected", ErrProtocol)
	}
	return nil
}
