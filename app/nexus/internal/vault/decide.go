package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/policy"
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
	OpPolicyPut       Operation = "policy.put"
	OpPolicyGet       Operation = "policy.get"
	OpPolicyList      Operation = "policy.list"
	OpPolicyDelete    Operation = "policy.delete"
	OpCipherEncrypt   Operation = "cipher.encrypt"
	OpCipherDecrypt   Operation = "cipher.decrypt"
	OpOperatorInit    Operation = "operator.init"
	OpOperatorStatus  Operation = "operator.status"
	OpOperatorAccept  Operation = "operator.accept"
	OpOperatorRecover Operation = "operator.recover"
	OpOperatorRestore Operation = "operator.restore"
	OpOperatorBackup  Operation = "operator.backup"
	OpOperatorLoad    Operation = "operator.load"
	OpOperatorKeeper  Operation = "operator.keeper"
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

// decision is the outcome of the one function that decides.
type decision struct {
	allowed  bool
	by       string
	byPolicy bool
	// partly: a list is to be filtered, since the caller may list some paths and
	// not all.
	partly bool
}

// The reserved paths that stand for operations that have no path of their own.
const (
	reservedACL    = "spike/system/acl"
	reservedSecret = "spike/system/secret"
	reservedCipher = "spike/system/cipher/exec"
)

// rule says who may do an operation, policies aside, and what policy grants it.
type rule struct {
	role       role.Role         // that may always
	lite       bool              // the lite role may, too
	permission policy.Permission // that a policy must grant a workload; 0: none does
	reserved   string            // at this path; "" for the request's own
}

// ruleFor returns the rule of an operation. One that is not listed nobody may do.
func ruleFor(op Operation) rule {
	switch op {
	case OpSecretGet, OpSecretMetadata:
		return rule{role: role.Superuser, permission: policy.Read}
	case OpSecretPut, OpSecretDelete, OpSecretUndelete, OpSecretDestroy:
		return rule{role: role.Superuser, permission: policy.Write}
	case OpSecretList:
		return rule{role: role.Superuser, permission: policy.List, reserved: reservedSecret}
	case OpPolicyPut, OpPolicyDelete:
		return rule{role: role.Superuser, permission: policy.Write, reserved: reservedACL}
	case OpPolicyGet:
		return rule{role: role.Superuser, permission: policy.Read, reserved: reservedACL}
	case OpPolicyList:
		return rule{role: role.Superuser, permission: policy.List, reserved: reservedACL}
	case OpCipherEncrypt, OpCipherDecrypt:
		return rule{role: role.Superuser, lite: true, permission: policy.Execute, reserved: reservedCipher}
	case OpOperatorInit, OpOperatorStatus, OpOperatorAccept, OpOperatorBackup, OpOperatorLoad, OpOperatorKeeper:
		return rule{role: role.Superuser}
	case OpOperatorRecover:
		return rule{role: role.Recover}
	case OpOperatorRestore:
		return rule{role: role.Restore}
	}
	return rule{}
}

// decide says whether caller may do op at path, under policies. It is the only
// place that does.
func decide(policies *policy.Set, caller Caller, op Operation, path string) decision {
	r := ruleFor(op)
	switch {
	case r.role == role.None:
		return decision{}
	case caller.Role == r.role, r.lite && caller.Role == role.Lite:
		return decision{allowed: true, by: "role " + caller.Role.String()}
	case caller.Role != role.Workload || r.permission == 0 || policies == nil:
		return decision{}
	}
	if r.reserved != "" {
		path = r.reserved
	}
	if len(path) > api.MaxPath {
		// Nothing can be there, and matching it would cost its length.
		return decision{}
	}
	if p := policies.Allow(caller.ID, r.permission, path); p != nil {
		return decision{allowed: true, byPolicy: true, by: p.Label()}
	}
	if op == OpSecretList {
		if some := policies.Naming(caller.ID, r.permission); len(some) > 0 {
			return decision{allowed: true, byPolicy: true, partly: true, by: some[0].Label()}
		}
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
	several []int // versions, in the place of version
	verdict decision
}

// Request is an operation whose work is done outside this package, and which is
// decided and audited here like every other.
type Request struct{ r request }

// Begin decides an operation of caller's. A refusal is audited and returned as
// api.ErrUnauthorized; otherwise the caller must end the request with Done.
func (v *Vault) Begin(ctx context.Context, caller Caller, op Operation) (*Request, error) {
	r := request{vault: v, caller: caller, op: op}
	if err := r.allow(ctx, nil); err != nil {
		return nil, err
	}
	return &Request{r}, nil
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

// allow decides, under the policies of the snapshot that the request is answered
// from. It audits a refusal; whoever is let through must call done.
func (r *request) allow(ctx context.Context, s *snapshot) error {
	var policies *policy.Set
	if s != nil {
		policies = s.policies
	}
	r.verdict = decide(policies, r.caller, r.op, r.path)
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
		Operation: r.op, Path: r.path, Version: r.version, Versions: r.several,
		Allowed: r.verdict.allowed, By: r.verdict.by,
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
