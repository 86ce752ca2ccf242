package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// Caller is who asks: the identity that TLS proved, and the request that it
// asks with.
type Caller struct {
	ID      string // SPIFFE ID
	Role    role.Role
	Request string // the request's id, for the audit log
	// Pending, if there is one, knows of a request that has no audit line yet.
	Pending *Pending
}

// Pending is a request between its decision and its audit line.
type Pending struct{ request *request }

// Abandon writes the line of a request that a fault of ours has ended in between: what
// was decided is in the log, whatever became of it.
func (p *Pending) Abandon(ctx context.Context) error {
	if p.request == nil {
		return nil
	}
	if err := p.request.done(ctx, api.ErrInternal); !errors.Is(err, api.ErrInternal) {
		return err
	}
	return nil
}

// Operation is what a caller wants, as the audit log names it.
type Operation = decision.Operation

// The operations whose work is done in other packages, which begin them here.
const (
	OpOperatorInit    = decision.OperatorInit
	OpOperatorStatus  = decision.OperatorStatus
	OpOperatorRecover = decision.OperatorRecover
	OpOperatorRestore = decision.OperatorRestore
	OpOperatorLoad    = decision.OperatorLoad
)

// Entry is one line of the audit log: a request that was decided.
type Entry struct {
	Time      time.Time
	Request   string
	Caller    string
	Operation Operation
	Path      string
	// Version is the one that was asked for, or the current one in its place where
	// the request came that far; Versions are several.
	Version  int
	Versions []int
	Allowed  bool
	By       string // what allowed it
	Result   api.Code
}

// Auditor writes an entry before it returns. When it cannot, the request fails.
type Auditor func(context.Context, Entry) error

// request is one operation of a caller's, from the decision to the audit line.
type request struct {
	vault   *Vault
	caller  Caller
	op      Operation
	path    string
	version int
	several []int // versions, in the place of version
	verdict decision.Verdict
}

// Request is an operation whose work is done outside this package, and which is
// decided and audited here like every other.
type Request struct{ r request }

// Begin decides an operation of caller's. A refusal is audited and returned as
// api.ErrUnauthorized; otherwise the caller must end the request with Done.
func (v *Vault) Begin(ctx context.Context, caller Caller, op Operation) (*Request, error) {
	r := &Request{request{vault: v, caller: caller, op: op}}
	if err := r.r.allow(ctx, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Refuse ends an operation that is refused whoever asks, with why. Its line says who
// did, and whether he had the right to.
func (v *Vault) Refuse(ctx context.Context, caller Caller, op Operation, why error) error {
	r := &request{vault: v, caller: caller, op: op}
	r.decide(nil)
	return r.done(ctx, why)
}

// Done audits the outcome and returns the error to answer with.
func (r *Request) Done(ctx context.Context, err error) error { return r.r.done(ctx, err) }

// begin decides an operation on what the vault holds, and returns the snapshot
// that it is decided by and is to be answered from: what is read is never read
// under older policies. It returns api.ErrNotReady unless the vault is open.
func (v *Vault) begin(ctx context.Context, caller Caller, op Operation, path string, version int) (*request, *snapshot, error) {
	s := v.current.Load()
	if s == nil {
		return nil, nil, api.ErrNotReady
	}
	r := &request{vault: v, caller: caller, op: op, path: path, version: version}
	if err := r.allow(ctx, s); err != nil {
		return nil, nil, err
	}
	return r, s, nil
}

// beginOperator is begin for what operators ask of an open vault. It leaves a line
// also when the vault is not open.
func (v *Vault) beginOperator(ctx context.Context, caller Caller, op Operation) (*request, error) {
	r, _, err := v.begin(ctx, caller, op, "", 0)
	if errors.Is(err, api.ErrNotReady) {
		return nil, v.Refuse(ctx, caller, op, err)
	}
	return r, err
}

// allow decides, under the policies of the snapshot that the request is answered
// from. It audits a refusal; whoever is let through must call done.
func (r *request) allow(ctx context.Context, s *snapshot) error {
	var policies *policy.Set
	if s != nil {
		policies = s.policies
	}
	if r.decide(policies) {
		if r.caller.Pending != nil {
			r.caller.Pending.request = r
		}
		return nil
	}
	return r.done(ctx, api.ErrUnauthorized)
}

// decide has the one function that decides do so.
func (r *request) decide(policies *policy.Set) (allowed bool) {
	r.verdict = decision.Decide(policies, decision.Caller{ID: r.caller.ID, Role: r.caller.Role}, r.op, r.path)
	return r.verdict.Allowed
}

// done writes the audit line, and returns what the caller is to be answered: the
// outcome, or that the line could not be written.
func (r *request) done(ctx context.Context, outcome error) error {
	if r.caller.Pending != nil {
		r.caller.Pending.request = nil
	}
	e := Entry{
		Time: time.Now(), Request: r.caller.Request, Caller: r.caller.ID,
		Operation: r.op, Path: r.path, Version: r.version, Versions: r.several,
		Allowed: r.verdict.Allowed, By: r.verdict.By(r.caller.Role),
	}
	if outcome != nil {
		_, e.Result = api.Wire(outcome)
	}
	if err := r.vault.audit(ctx, e); err != nil {
		// The outcome is only told: it must not be what the caller is answered.
		return fmt.Errorf("write the audit log: %w (the outcome was: %s)", err, describe(outcome))
	}
	return outcome
}

func describe(outcome error) string {
	if outcome == nil {
		return "done"
	}
	return outcome.Error()
}
