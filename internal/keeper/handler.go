package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/secret"
)

// strangerTime is how long a connection outlives the refusal of its request.
const strangerTime = 500 * time.Millisecond

// handler serves a Holder to Nexus and to nobody else.
type handler struct {
	holder *Holder
	roles  *role.Domains
	log    *slog.Logger
}

// NewHandler returns the Keeper's routes over holder. Requests must come
// through an mtls.Server, which says whose they are.
func NewHandler(holder *Holder, roles *role.Domains, log *slog.Logger) http.Handler {
	return &handler{holder: holder, roles: roles, log: log}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Without a peer the ID is the zero one, which has no role.
	id, _ := mtls.PeerID(r.Context())
	var answer []byte
	var err error
	if h.roles.Of(id) == role.Nexus {
		// A share that comes or goes leaves copies of itself on the way.
		secret.Scrubbed(func() { answer, err = h.serve(r) })
	} else {
		err = ErrRefused
		cutOff(w)
	}
	defer clear(answer)
	status := http.StatusOK
	switch {
	case err != nil:
		h.logRefusal(r, id, err)
		var code api.Code
		if status, code = toWire(err); answer == nil {
			answer = encodeError(r.URL.Path, code)
		}
	case answer == nil:
		answer = []byte("{}")
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
	header.Set("Pragma", "no-cache")
	header.Set("Expires", "0")
	w.WriteHeader(status)
	if _, err := w.Write(answer); err != nil {
		h.log.Debug("answer not sent", "route", r.URL.Path, "error", err)
	}
}

// cutOff ends the connection of a stranger with the answer. Its body may never
// come, and nobody waits for it: what a stranger holds, Nexus may be missing.
func cutOff(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	// What was sent already is still taken off the wire, so that the answer is
	// not lost to a reset. Without a connection to limit, as in a test, there is
	// nothing to wait for.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(strangerTime))
}

// serve answers Nexus: route, decode, check the fields, act.
func (h *handler) serve(r *http.Request) ([]byte, error) {
	req := newRequest(r.URL.Path)
	if req == nil || r.Method != http.MethodPost || r.URL.Query().Get("action") != "" {
		return nil, fmt.Errorf("%w: no such route", ErrInvalid)
	}
	defer req.wipe()
	body, err := readBody(r.Body, r.ContentLength)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer clear(body)
	if err := decode(body, req); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := req.complete(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return req.apply(h.holder)
}

func (h *handler) logRefusal(r *http.Request, id spiffeid.ID, err error) {
	level := slog.LevelInfo
	switch {
	case errors.Is(err, errEmpty), errors.Is(err, ErrRefused) && h.roles.Of(id) == role.Keeper:
		// A fresh Keeper's everyday life, and its health check.
		level = slog.LevelDebug
	case errors.Is(err, ErrAnchorConflict), errors.Is(err, ErrFault):
		level = slog.LevelError
	case errors.Is(err, ErrHoldsShare), errors.Is(err, ErrForeign):
		level = slog.LevelWarn
	}
	h.log.Log(r.Context(), level, "request refused", "route", r.URL.Path, "peer", id.String(), "error", err)
}
