package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// Caller is who asks: the identity that TLS proved, and the request that it
// asks with.
type Caller struct {
	ID      string // SPIFFE ID
	Role    role.Role
	Request string // the request's id, for the audit log
}

// Operation is what a caller wants, as the audit log names it.
type Operation string

// The operations. Everything that a route does is one of them.
const (
	OpSecretPut       Operation = "secret.put"
	OpSecretGet       Operation = "secret.get"
	OpSecretList      Operation = "secret.list"
	OpSecretDelete    Operation = "secret.delete"
	OpSecretUndelete  Operation = "secret.undelete"
	OpSecretDestroy   Operation = "secret.destroy"
	OpSecretMetadata  Operation = "secret.metadata"
	OpOperatorInit    Operation = "operator.init"
	OpOperatorStatus  Operation = "operator.status"
	OpOperatorRecover Operation = "operator.recover"
	OpOperatorRestore Operation = "operator.restore"
)

// Entry is one line of the audit log: a request that was decided.
type Entry struct {
	Time      time.Time
	Request   string
	Caller    string
	Operation Operation
	Path      string
	Version   int
	Allowed   bool
	By        string // what allowed it
	Result    api.Code
}

// Auditor writes an entry before it returns. When it cannot, the request fails.
type Auditor func(context.Context, Entry) error

// decision is the outcome of the one function that decides.
type decision struct {
	allowed bool
	by      string
}

// roleFor says which role alone may do an operation. One that is not listed
// nobody may do.
func roleFor(op Operation) role.Role {
	switch op {
	case OpSecretPut, OpSecretGet, OpSecretList, OpSecretDelete, OpSecretUndelete, OpSecretDestroy,
		OpSecretMetadata, OpOperatorInit, OpOperatorStatus:
		return role.Superuser
	case OpOperatorRecover:
		return role.Recover
	case OpOperatorRestore:
		return role.Restore
	}
	return role.None
}

// decide says whether caller may do op. It is the only place that does.
func decide(caller Caller, op Operation) decision {
	if r := roleFor(op); r != role.None && caller.Role == r {
		return decision{allowed: true, by: "role " + r.String()}
	}
	return decision{}
}

// request is one operation of a caller's, from the decision to the audit line.
type request struct {
	vault   *Vault
	caller  Caller
	op      Operation
	path    string
	version int
	verdict decision
}

// Request is an operation whose work is done outside this package, and which is
// decided and audited here like every other.
type Request struct{ r request }

// Begin decides an operation of caller's. A refusal is audited and returned as
// api.ErrUnauthorized; otherwise the caller must end the request with Done.
func (v *Vault) Begin(ctx context.Context, caller Caller, op Operation) (*Request, error) {
	r := v.request(caller, op, "", 0)
	if err := r.allow(ctx); err != nil {
		return nil, err
	}
	return &Request{r}, nil
}

// Done audits the outcome and returns the error to answer with.
func (r *Request) Done(ctx context.Context, err error) error { return r.r.done(ctx, err) }

func (v *Vault) request(caller Caller, op Operation, path string, version int) request {
	return request{vault: v, caller: caller, op: op, path: path, version: version}
}

// allow decides. It audits a refusal; whoever is let through must call done.
func (r *request) allow(ctx context.Context) error {
	r.verdict = decide(r.caller, r.op)
	if r.verdict.allowed {
		return nil
	}
	return r.done(ctx, api.ErrUnauthorized)
}

// done writes the audit line, and returns what the caller is to be answered: the
// outcome, or that the line could not be written.
func (r *request) done(ctx context.Context, outcome error) error {
	e := Entry{
		Time: time.Now(), Request: r.caller.Request, Caller: r.caller.ID,
		Operation: r.op, Path: r.path, Version: r.version,
		Allowed: r.verdict.allowed, By: r.verdict.by,
	}
	if outcome != nil {
		_, e.Result = api.Wire(outcome)
	}
	if err := r.vault.audit(ctx, e); err != nil {
		return fmt.Errorf("write the audit log: %w", errors.Join(err, errAudit))
	}
	return outcome
}

// errAudit keeps a sentinel that happened to be the outcome from being the
// answer when the audit line is missing.
var errAudit = errors.New("audit log unavailable")
