package server

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
)

// stall is how long a transfer of any length may stand still. The server's limits
// for whole requests would cut off what is large and on its way.
const stall = 30 * time.Second

// transferChunk is how much is sent before the limit is set again.
const transferChunk = 256 << 10

func operatorBackup(s *Server, x *exchange) {
	var req api.OperatorBackupRequest
	if err := x.decode(&req, api.MaxBody); err != nil {
		x.refuse(err, &api.OperatorBackupResponse{})
		return
	}
	b, err := s.vault.Backup(x.r.Context(), x.caller)
	if err != nil {
		x.refuse(err, &api.OperatorBackupResponse{})
		return
	}
	total, err := b.Head.Total()
	if err != nil {
		x.refuse(errors.Join(err, b.Close()), &api.OperatorBackupResponse{})
		return
	}
	x.w.Header().Set("Content-Type", api.OctetStream)
	x.w.Header().Set("Content-Length", strconv.FormatInt(total, 10))
	out := bufio.NewWriterSize(&patient{x: x, control: http.NewResponseController(x.w)}, transferChunk)
	err = backup.Write(out, b.Head, b)
	if err = errors.Join(err, out.Flush(), b.Close()); err != nil {
		x.log.Warn("a backup was not taken to its end", "request", x.caller.Request, "error", err)
		// An answer that ends in good order would be a whole one.
		panic(http.ErrAbortHandler)
	}
}

func operatorLoad(s *Server, x *exchange) {
	body := &patient{x: x, control: http.NewResponseController(x.w)}
	res, err := s.operator.Load(x.r.Context(), x.caller, body)
	if late := body.extend(body.control.SetWriteDeadline); late != nil {
		x.log.Warn("the answer to a load may not arrive", "request", x.caller.Request, "error", late)
	}
	if err != nil {
		x.w.Header().Set("Connection", "close")
		x.refuse(err, &api.OperatorLoadResponse{})
		body.linger()
		return
	}
	x.reply(http.StatusOK, &res)
}

// patient is an exchange's body in either direction, which may take as long as it
// likes, but not stand still.
type patient struct {
	x       *exchange
	control *http.ResponseController
}

// Read reads from the request.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.extend(p.control.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := p.x.r.Body.Read(b)
	if errors.Is(err, io.EOF) {
		// The server goes on listening for a caller that goes away. Looking through
		// what came takes its time, and is none of those.
		if err := p.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return n, err
		}
	}
	return n, err
}

// lingering is how long what still comes is taken in after a refusal.
const lingering = 2 * time.Second

// linger sends a refusal off and takes in what still comes for a moment: a
// connection that is closed under a sender is reset, and the answer with it.
func (p *patient) linger() {
	if err := p.control.Flush(); err != nil {
		return
	}
	if err := p.control.SetReadDeadline(time.Now().Add(lingering)); err != nil {
		return
	}
	// Whatever ends it, the answer is on its way.
	_, _ = io.Copy(io.Discard, p.x.r.Body)
}

// Write writes to the answer.
func (p *patient) Write(b []byte) (int, error) {
	if err := p.extend(p.control.SetWriteDeadline); err != nil {
		return 0, err
	}
	return p.x.w.Write(b)
}

func (p *patient) extend(set func(time.Time) error) error {
	err := set(time.Now().Add(stall))
	if errors.Is(err, http.ErrNotSupported) {
		return nil // no connection, and so no limit to move
	}
	return err
}
