package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/spiffe/spike/internal/api"
)

// What can go wrong before there is an answer that means something. What Nexus
// itself answered is one of package api's sentinels.
var (
	// ErrUnreachable means that no answer came: no connection, or none in time.
	ErrUnreachable = errors.New("cannot reach Nexus")
	// ErrUnanswered accompanies ErrUnreachable when the request had been sent:
	// whether it was carried out is not known.
	ErrUnanswered = errors.New("the request was sent, but no answer came")
	// ErrUntrusted means that what answers there is not Nexus, or not one of a
	// trusted domain. Nothing was sent to it.
	ErrUntrusted = errors.New("the server does not prove to be Nexus")
	// ErrRefused means that the server ended the connection because it does not
	// accept this client's certificate.
	ErrRefused = errors.New("the server does not accept this identity")
	// ErrProtocol means an answer that this client does not understand.
	ErrProtocol = errors.New("unintelligible answer")
	// ErrUnsendable means that a request cannot be expressed: too large, or text
	// that is not UTF-8. Nothing was sent.
	ErrUnsendable = errors.New("cannot be sent")
)

// Error is a failed call. It wraps the sentinels of this package or of package
// api, so that errors.Is works.
type Error struct {
	Op string // such as "secret get"
	// RequestID is the id under which the server's logs have the request; empty
	// when there was no answer.
	RequestID string
	Err       error
}

// Error returns what failed and why, on one line.
func (e *Error) Error() string {
	if e.RequestID == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %v (request %s)", e.Op, e.Err, e.RequestID)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// RequestID returns the request id that err carries, or "".
func RequestID(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.RequestID
	}
	return ""
}

// progress is how far a request came, which decides what its failure means.
type progress struct {
	connected atomic.Bool // the server proved to be Nexus
	sent      atomic.Bool // the whole request was written
}

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { p.connected.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { p.sent.Store(info.Err == nil) },
	}
}

// transportError says what a failure without an answer means.
func transportError(err error, reached *progress) error {
	var record tls.RecordHeaderError
	sent := reached.sent.Load()
	switch {
	case errors.Is(err, ErrUntrusted):
		return err
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Errorf("%w: it does not speak TLS", ErrUntrusted)
	case alert(err) && reached.connected.Load():
		// In TLS 1.3 the server looks at our certificate after we are done.
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case alert(err):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case errors.Is(err, context.Canceled) && sent:
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	case errors.Is(err, context.Canceled):
		return err
	case sent:
		return fmt.Errorf("%w: %w: %w", ErrUnreachable, ErrUnanswered, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// alert reports whether the other end gave up on TLS and said so. The alert's
// own type is not exported.
func alert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// requestID returns the header's value if it is fit to be shown on a terminal.
func requestID(value string) string {
	const longest = 128
	if len(value) > longest {
		return ""
	}
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return value
}

// marked makes a TLS configuration's refusal of the server recognizable.
func marked(config *tls.Config) *tls.Config {
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verify(state); err != nil {
			return fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		return nil
	}
	return config
}

// readAll reads an answer of at most maxAnswer bytes.
func readAll(r io.Reader, reached *progress) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, transportError(err, reached)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrProtocol, maxAnswer)
	}
	return body, nil
}

// wireError returns the sentinel for an answer that is not a success.
func wireError(status int, code api.Code) error {
	err := api.FromWire(status, code)
	if errors.Is(err, api.ErrInternal) && code != "api_internal_error" {
		return fmt.Errorf("%w: status %d, code %q", err, status, code)
	}
	return err
}
