package decision

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/policy"
)

// operations are those that a policy can grant.
var operations = [...]Operation{
	SecretPut, SecretGet, SecretList, SecretDelete, SecretUndelete, SecretDestroy, SecretMetadata,
	PolicyPut, PolicyGet, PolicyList, PolicyDelete, CipherEncrypt, CipherDecrypt,
}

// ErrNothing is the answer to a question about what no operation needs.
var ErrNothing = errors.New("no operation needs this permission at this path")

// Taken returns the permissions that operations need at a path: whatever else a
// policy has there grants nothing.
func Taken(path string) (all policy.Permission) {
	for _, op := range operations {
		if r := ruleOf(op); r.at(path) {
			all |= r.permission
		}
	}
	return all
}

// TakenAtSecrets is what Taken returns for the path of a secret.
func TakenAtSecrets() (all policy.Permission) {
	for _, op := range operations {
		if r := ruleOf(op); r.atSecrets() {
			all |= r.permission
		}
	}
	return all
}

// Reserved returns the reserved paths that operations have, sorted.
func Reserved() (paths []string) {
	for _, op := range operations {
		if r := ruleOf(op); r.reserved != "" && !slices.Contains(paths, r.reserved) {
			paths = append(paths, r.reserved)
		}
	}
	slices.Sort(paths)
	return paths
}

// Needed says at which paths operations need a permission.
func Needed(want policy.Permission) string {
	var places []string
	if TakenAtSecrets()&want != 0 {
		places = append(places, "the paths of secrets")
	}
	for _, path := range Reserved() {
		if Taken(path)&want != 0 {
			places = append(places, path)
		}
	}
	return strings.Join(places, " and ")
}

// atSecrets reports whether the path of a secret can be what an operation is decided
// by.
func (r *rule) atSecrets() bool { return r.reserved == "" || r.filtered }

// at reports whether path can be. It is one that CheckPath takes.
func (r *rule) at(path string) bool {
	return r.reserved == path || r.atSecrets() && !strings.HasPrefix(path, policy.ReservedPrefix)
}

// CheckPath says whether a question can be about path: something can be there, or an
// operation has it. The errors are sentences for people.
func CheckPath(path string) error {
	if !strings.HasPrefix(path, policy.ReservedPrefix) {
		return api.ValidatePath(path)
	}
	if list := Reserved(); !slices.Contains(list, path) {
		return fmt.Errorf("nothing has the reserved path %q; there are %s", path, strings.Join(list, ", "))
	}
	return nil
}

// Ask says whether caller may do whatever needs a permission at path. It returns
// ErrNothing where nothing does, and the error of CheckPath where nothing can. To
// list some and not all is a refusal at PathList, with a Filter for what there is.
func Ask(policies *policy.Set, caller Caller, want policy.Permission, path string) (Verdict, error) {
	if err := CheckPath(path); err != nil {
		return Verdict{}, err
	}
	for _, op := range operations {
		r := ruleOf(op)
		if r.permission != want || !r.at(path) {
			continue
		}
		// Others that are found by the same permission and path have the same rule.
		v := Decide(policies, caller, op, path)
		if v.Filter == nil {
			return v, nil
		}
		if path == r.reserved {
			return Verdict{Filter: v.Filter}, nil
		}
		p := v.Filter.By(path)
		return Verdict{Allowed: p != nil, Policy: p}, nil
	}
	return Verdict{}, ErrNothing
}
