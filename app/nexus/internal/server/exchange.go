package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// exchange is one request and its answer.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	caller vault.Caller
	// requestID is the header's value, here so that it needs no memory of its own.
	requestID [1]string
	// pending is what the audit log does not have yet.
	pending vault.Pending
	log     *slog.Logger
	room    *room
	atEnd   []func() // done once the answer is written, the last first
}

// end gives back what the exchange holds.
func (x *exchange) end() {
	for _, f := range slices.Backward(x.atEnd) {
		f()
	}
}

// decode reads a body of at most most bytes into a wire type. Whatever is wrong
// with it is api.ErrBadRequest.
func (x *exchange) decode(into any, most int64) error {
	body, err := x.read(most)
	if err != nil {
		return bad("read the body", err)
	}
	// What it becomes is copied out of it.
	defer clear(body)
	if usual, ok := into.(interface{ DecodeUsual([]byte) bool }); ok && usual.DecodeUsual(body) {
		return nil
	}
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return bad("the body is empty", nil)
	case trimmed[0] != '{':
		return bad("the body is not a JSON object", nil)
	case !utf8.Valid(trimmed):
		// The decoder would put replacement characters into a secret.
		return bad("the body is not UTF-8", nil)
	case !paired(trimmed):
		return bad("the body has half of a surrogate pair", nil)
	}
	if err := json.Unmarshal(trimmed, into); err != nil {
		return bad("decode the body", safeDecodeError(err))
	}
	return nil
}

// safeDecodeError keeps what the caller sent, which may be a secret, out of the
// log: the decoder's own errors repeat parts of it.
func safeDecodeError(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("a value of the wrong type at byte %d", kind.Offset)
	}
	return errors.New("a field has a value that it cannot have")
}

func bad(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%w: %s", api.ErrBadRequest, what)
	}
	return fmt.Errorf("%w: %s: %w", api.ErrBadRequest, what, err)
}

// fail returns the status and code for err, and logs what the client is not told.
func (x *exchange) fail(err error) (status int, code api.Code) {
	status, code = api.Wire(err)
	// What was decided is in the audit log; what was not, and why, is here.
	level := slog.LevelDebug
	switch {
	case errors.Is(err, context.Canceled):
		// The caller went away; nobody hears of the status.
	case status == http.StatusServiceUnavailable:
		level = slog.LevelInfo
	case status == http.StatusInternalServerError:
		level = slog.LevelError
	}
	x.log.Log(x.r.Context(), level, "request failed", "request", x.caller.Request, "caller", x.caller.ID,
		"route", x.r.URL.Path, "status", status, "code", string(code), "error", err)
	return status, code
}

// reply writes the answer as JSON. One that can write itself does, so that a large
// value is not copied for every caller that reads it.
func (x *exchange) reply(status int, answer any) {
	switch a := answer.(type) {
	case interface {
		size() int
		writeTo(w io.Writer) error
	}:
		x.begin(status, a.size())
		x.sent(a.writeTo(x.w))
		return
	case interface{ encode() []byte }:
		x.write(status, a.encode())
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		status, _ = x.fail(fmt.Errorf("encode the answer: %w", err))
		body = []byte(`{"err":"api_internal_error"}`)
	}
	x.write(status, body)
	clear(body)
}

// begin sends the status. The server finds out by itself how long a short answer
// is; a long one would be sent in chunks if it were not told.
func (x *exchange) begin(status, size int) {
	if size > 2048 {
		x.w.Header()["Content-Length"] = []string{strconv.Itoa(size)}
	}
	x.w.WriteHeader(status)
}

func (x *exchange) write(status int, list ...[]byte) {
	size := 0
	for _, part := range list {
		size += len(part)
	}
	x.begin(status, size)
	for _, part := range list {
		if _, err := x.w.Write(part); err != nil {
			x.sent(err)
			return
		}
	}
}

// sent is called with how the sending of an answer ended.
func (x *exchange) sent(err error) {
	if err != nil {
		x.log.Debug("the caller went away before its answer", "request", x.caller.Request, "error", err)
	}
}

// drain is how much of a refused body is read so that the connection can be
// used again. Past it the connection is closed.
const drain = 64 << 10

func discard(r *http.Request) {
	// What is left unread only costs the connection.
	_, _ = io.CopyN(io.Discard, r.Body, drain)
}
