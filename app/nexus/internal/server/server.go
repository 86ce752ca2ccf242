// Package server is Nexus's HTTP face: routes, decoding, encoding, and nothing
// that decides.
package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"strings"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

// Operator does what operators ask for. Each method decides and audits through
// the vault.
type Operator interface {
	Init(ctx context.Context, caller vault.Caller) (api.OperatorInitResponse, error)
	Status(ctx context.Context, caller vault.Caller) (api.OperatorStatusResponse, error)
	Accept(ctx context.Context, caller vault.Caller, req *api.OperatorAcceptRequest) (api.OperatorAcceptResponse, error)
	Recover(ctx context.Context, caller vault.Caller) (api.OperatorRecoverResponse, error)
	Restore(ctx context.Context, caller vault.Caller, req *api.OperatorRestoreRequest) (api.OperatorRestoreResponse, error)
	Replace(ctx context.Context, caller vault.Caller, req *api.OperatorKeeperRequest) (api.OperatorKeeperResponse, error)
	Load(ctx context.Context, caller vault.Caller, from io.Reader) (api.OperatorLoadResponse, error)
}

// Config configures a [Server].
type Config struct {
	Vault    *vault.Vault
	Operator Operator
	Roles    role.Domains
	// MaxCiphertext is the longest ciphertext of the cipher service, its tag
	// included, in bytes.
	MaxCiphertext int
	// NoSecrets leaves out the routes for secrets and policies.
	NoSecrets bool
	Log       *slog.Logger
}

// Server serves the API. It is an http.Handler that must run behind
// [mtls.Server], from which it learns who is calling.
type Server struct {
	vault    *vault.Vault
	operator Operator
	roles    role.Domains
	log      *slog.Logger
	room     *room
	// header is the same in every answer; nobody changes the values.
	header []headerField

	maxCiphertext int
	routes        map[target]func(*Server, *exchange)
}

type headerField struct {
	name  string
	value []string
}

// target is what a request is addressed to.
type target struct{ path, action string }

// New returns the API of a vault.
func New(c Config) *Server {
	s := &Server{
		vault: c.Vault, operator: c.Operator, roles: c.Roles, log: c.Log,
		header: []headerField{
			{"Content-Type", []string{"application/json"}},
			{"Cache-Control", []string{"no-store, no-cache, must-revalidate, private"}},
			{"Pragma", []string{"no-cache"}},
			{"Expires", []string{"0"}},
		},
		room: newRoom(), maxCiphertext: c.MaxCiphertext, routes: map[target]func(*Server, *exchange){},
	}
	for _, r := range routes() {
		if c.NoSecrets && r.secretsOnly() {
			continue
		}
		s.routes[target{r.path, r.action}] = r.serve
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, log: s.log, room: s.room}
	x.caller.Request, x.caller.Pending = newRequestID(), &x.pending
	defer x.end()
	defer x.recovered()
	h := w.Header()
	for _, field := range s.header {
		h[field.name] = field.value
	}
	x.requestID[0] = x.caller.Request
	h[api.RequestIDHeader] = x.requestID[:]

	id, ok := mtls.PeerID(r.Context())
	if !ok {
		s.log.Error("a request came without an identity", "request", x.caller.Request)
		x.reply(http.StatusUnauthorized, errorAnswer{"access_unauthorized"})
		return
	}
	x.caller.ID, x.caller.Role = id.String(), s.roles.Of(id)
	serve, ok := s.routes[target{r.URL.EscapedPath(), action(r.URL.RawQuery)}]
	if r.Method != http.MethodPost || !ok {
		discard(r)
		s.log.Debug("no such route", "request", x.caller.Request, "caller", x.caller.ID, "method", r.Method)
		x.reply(http.StatusBadRequest, errorAnswer{"api_bad_request"})
		return
	}
	serve(s, x)
}

// recovered ends an exchange that panicked: a fault of ours, which the operator
// hears of and the caller does not.
func (x *exchange) recovered() {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		x.log.Error("a request panicked", "request", x.caller.Request, "caller", x.caller.ID, "route", x.r.URL.Path,
			"at", frames())
		if err := x.pending.Abandon(x.r.Context()); err != nil {
			x.log.Error("what was decided is not in the audit log", "request", x.caller.Request, "error", err)
		}
		x.reply(http.StatusInternalServerError, errorAnswer{"api_internal_error"})
	}
}

// frames says where a panic came from. A stack trace would show arguments, which
// can be a share's bytes.
func frames() string {
	var pcs [16]uintptr
	list := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var b strings.Builder
	for {
		f, more := list.Next()
		fmt.Fprintf(&b, "%s:%d ", f.Function, f.Line)
		if !more {
			return b.String()
		}
	}
}

type errorAnswer struct {
	Err api.Code `json:"err"`
}

// action returns the query's action, or one that there is not when it cannot be
// told: a request that is misread could write where it was to read. The usual query
// has nothing else, and needs no parsing.
func action(query string) string {
	if query == "" {
		return ""
	}
	if value, ok := strings.CutPrefix(query, "action="); ok && !strings.ContainsAny(value, "&;%+") {
		return value
	}
	values, err := url.ParseQuery(query)
	if err != nil || len(values["action"]) > 1 {
		return "?"
	}
	for name := range values {
		if name != "action" && strings.EqualFold(name, "action") {
			return "?"
		}
	}
	return values.Get("action")
}

// newRequestID returns 16 hex digits. They tell requests apart, and nothing rests
// on their being hard to guess.
func newRequestID() string {
	var b [8]byte
	var digits [2 * len(b)]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64()) //nolint:gosec // see above
	hex.Encode(digits[:], b[:])
	return string(digits[:])
}
