// Package decision says who may do what. It is the one place that does: Nexus asks
// it about every request, and "spike policy test" about requests that nobody made.
// It is pure: what it says follows from its arguments alone.
package decision

import (
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// Operation is what a caller wants, as the audit log names it.
type Operation string

// The operations. Everything that a route does is one of them.
const (
	SecretPut       Operation = "secret.put"
	SecretGet       Operation = "secret.get"
	SecretList      Operation = "secret.list"
	SecretDelete    Operation = "secret.delete"
	SecretUndelete  Operation = "secret.undelete"
	SecretDestroy   Operation = "secret.destroy"
	SecretMetadata  Operation = "secret.metadata"
	PolicyPut       Operation = "policy.put"
	PolicyGet       Operation = "policy.get"
	PolicyList      Operation = "policy.list"
	PolicyDelete    Operation = "policy.delete"
	CipherEncrypt   Operation = "cipher.encrypt"
	CipherDecrypt   Operation = "cipher.decrypt"
	OperatorInit    Operation = "operator.init"
	OperatorStatus  Operation = "operator.status"
	OperatorAccept  Operation = "operator.accept"
	OperatorRecover Operation = "operator.recover"
	OperatorRestore Operation = "operator.restore"
	OperatorBackup  Operation = "operator.backup"
	OperatorLoad    Operation = "operator.load"
	OperatorKeeper  Operation = "operator.keeper"
)

// The reserved paths that stand for operations that have no path of their own.
const (
	PathPolicy = policy.ReservedPrefix + "acl"
	PathList   = policy.ReservedPrefix + "secret"
	PathCipher = policy.ReservedPrefix + "cipher/exec"
)

// rule says who may do an operation, policies aside, and what policy grants it.
type rule struct {
	role       role.Role         // that may always
	lite       bool              // the lite role may, too
	permission policy.Permission // that a policy must grant a workload; 0: none does
	reserved   string            // at this path; "" for the request's own
	// filtered: whoever is not granted it may have as much of it as lies at paths at
	// which the permission is granted.
	filtered bool
}

// ruleOf returns the rule of an operation. One that is not listed nobody may do.
func ruleOf(op Operation) rule {
	switch op {
	case SecretGet, SecretMetadata:
		return rule{role: role.Superuser, permission: policy.Read}
	case SecretPut, SecretDelete, SecretUndelete, SecretDestroy:
		return rule{role: role.Superuser, permission: policy.Write}
	case SecretList:
		return rule{role: role.Superuser, permission: policy.List, reserved: PathList, filtered: true}
	case PolicyPut, PolicyDelete:
		return rule{role: role.Superuser, permission: policy.Write, reserved: PathPolicy}
	case PolicyGet:
		return rule{role: role.Superuser, permission: policy.Read, reserved: PathPolicy}
	case PolicyList:
		return rule{role: role.Superuser, permission: policy.List, reserved: PathPolicy}
	case CipherEncrypt, CipherDecrypt:
		return rule{role: role.Superuser, lite: true, permission: policy.Execute, reserved: PathCipher}
	case OperatorInit, OperatorStatus, OperatorAccept, OperatorBackup, OperatorLoad, OperatorKeeper:
		return rule{role: role.Superuser}
	case OperatorRecover:
		return rule{role: role.Recover}
	case OperatorRestore:
		return rule{role: role.Restore}
	}
	return rule{}
}
