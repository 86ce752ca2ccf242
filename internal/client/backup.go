package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
)

const (
	// stall is how long a transfer may stand still. It has no limit as a whole.
	stall = time.Minute
	// prepare is how long Nexus may take before it answers: it copies a whole
	// store, or looks through one.
	prepare = 10 * time.Minute
	// goAhead is how long a load waits for Nexus's word that it may be sent.
	goAhead = 20 * time.Second
)

// OperatorBackup writes a backup of the store to w, and returns what it says of
// itself. What was written is whole, and has the right hash, only when there is no
// error. It needs the superuser role.
func (c *Client) OperatorBackup(ctx context.Context, w io.Writer) (backup.Head, error) {
	const op = "operator backup"
	var head backup.Head
	id, err := c.transfer(ctx, transfer{
		path: api.PathOperatorBackup, body: bytes.NewReader([]byte("{}")), kind: "application/json", transport: c.transport,
		receive: func(status int, kind string, answer io.Reader) (err error) {
			if status != http.StatusOK || kind != api.OctetStream {
				return receiveJSON(status, answer, &api.OperatorBackupResponse{})
			}
			out := &tee{from: answer, to: w}
			head, err = backup.Verify(out)
			switch {
			case out.err != nil:
				return out.err
			case errors.Is(err, backup.ErrCut), errors.Is(err, backup.ErrDamaged),
				errors.Is(err, backup.ErrFormat), errors.Is(err, backup.ErrNoBackup):
				return fmt.Errorf("%w: %w", ErrProtocol, err)
			}
			return err
		},
	})
	if err != nil {
		return head, &Error{Op: op, RequestID: id, Err: err}
	}
	return head, nil
}

// OperatorLoad sends a backup to a Nexus that has no cluster, which is locked
// then. It needs the superuser role.
func (c *Client) OperatorLoad(ctx context.Context, from io.Reader) (api.OperatorLoadResponse, error) {
	var out api.OperatorLoadResponse
	// Nothing is sent until Nexus has said that it will read it: it would refuse in
	// the middle, and be misunderstood.
	transport := c.transport.Clone()
	transport.ExpectContinueTimeout = goAhead
	defer transport.CloseIdleConnections()
	id, err := c.transfer(ctx, transfer{
		path: api.PathOperatorLoad, body: from, kind: api.OctetStream, transport: transport, expect: true,
		receive: func(status int, _ string, answer io.Reader) error { return receiveJSON(status, answer, &out) },
	})
	if err != nil {
		return out, &Error{Op: "operator load", RequestID: id, Err: err}
	}
	return out, nil
}

func receiveJSON(status int, from io.Reader, out any) error {
	answer, err := io.ReadAll(io.LimitReader(from, 64<<10))
	if err != nil {
		return err
	}
	return decode(status, answer, out)
}

// transfer is a call with a body or an answer of any length.
type transfer struct {
	path      string
	body      io.Reader
	length    int64  // of the body; 0 where it is not known
	kind      string // of the body
	expect    bool   // wait for Nexus's word before the body is sent
	transport *http.Transport
	receive   func(status int, kind string, answer io.Reader) error
}

// transfer calls Nexus for as long as something moves.
func (c *Client) transfer(ctx context.Context, t transfer) (id string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(prepare, func() { cancel(errStalled) })
	defer watch.Stop()
	var reached progress
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, reached.trace()), http.MethodPost,
		c.base.JoinPath(t.path).String(), moving{t.body, watch, prepare})
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsendable, err)
	}
	req.ContentLength = cmp.Or(t.length, -1)
	req.Header.Set("Content-Type", t.kind)
	if t.expect {
		req.Header.Set("Expect", "100-continue")
	}
	once := http.Client{Transport: t.transport, CheckRedirect: c.http.CheckRedirect}
	res, err := once.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return "", transportError(stalled(ctx, err), &reached)
	}
	// What was not read by then is not wanted.
	defer func() { _ = res.Body.Close() }()
	id = requestID(res.Header.Get(api.RequestIDHeader))
	watch.Reset(stall)
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	answer := &arriving{from: moving{res.Body, watch, stall}}
	err = t.receive(res.StatusCode, kind, answer)
	if answer.err != nil {
		err = transportError(stalled(ctx, answer.err), &reached)
	}
	return id, err
}

var errStalled = errors.New("nothing moved for too long")

// stalled returns the reason why ctx was ended, if it was us.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// moving puts the watch off whenever something was read.
type moving struct {
	io.Reader
	watch *time.Timer
	by    time.Duration
}

// Read implements io.Reader.
func (m moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.watch.Reset(m.by)
	return n, err
}

// arriving remembers what cut an answer off.
type arriving struct {
	from io.Reader
	err  error
}

// Read implements io.Reader.
func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		a.err = err
	}
	return n, err
}

// tee writes what is read from one to the other, and remembers what that one said.
type tee struct {
	from io.Reader
	to   io.Writer
	err  error
}

// Read implements io.Reader.
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	if n > 0 {
		if _, t.err = t.to.Write(p[:n]); t.err != nil {
			return n, t.err
		}
	}
	return n, err
}
