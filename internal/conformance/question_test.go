package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// callerOf is an identity as a Nexus of both domains has it.
func callerOf(who string) decision.Caller {
	first := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString(home)}
	roles := role.Domains{Nexus: first, Keeper: first, Pilot: first, Lite: first,
		Trusted: append(first, spiffeid.RequireTrustDomainFromString(second))}
	return decision.Caller{ID: idOf(who), Role: roles.Of(spiffeid.RequireFromString(idOf(who)))}
}

// foretold compares what Nexus answered with the answer to the question that people
// put before: may this identity do what needs this permission at this path?
func foretold(set *policy.Set, who string, op operation, path string, keys []string, got answer) error {
	if op.permission == "" {
		return nil // what no policy grants is not asked about
	}
	want, err := policy.ParsePermissions([]string{op.permission})
	if err != nil {
		return err
	}
	if op.reserved != "" {
		path = op.reserved
	}
	caller := callerOf(who)
	v, err := decision.Ask(set, caller, want, path)
	switch {
	case err != nil:
		// A secret cannot be there, whoever may.
		if op.reserved != "" || errors.Is(err, decision.ErrNothing) != slices.Contains(decision.Reserved(), path) {
			return err
		}
		if got.status != http.StatusBadRequest && got.status != http.StatusUnauthorized {
			return fmt.Errorf("got %d %s, and %w", got.status, got.body, err)
		}
		return nil
	case op.reserved != decision.PathList:
		if v.Allowed == (got.status == http.StatusUnauthorized) {
			return fmt.Errorf("got %d %s, and it was foretold as %+v", got.status, got.body, v)
		}
		return nil
	}
	if v.Allowed && v.Filter != nil || (v.Allowed || v.Filter != nil) == (got.status == http.StatusUnauthorized) {
		return fmt.Errorf("got %d %s, and it was foretold as %+v", got.status, got.body, v)
	}
	var listed api.SecretListResponse
	if err := json.Unmarshal([]byte(got.body), &listed); err != nil {
		return err
	}
	for _, key := range keys {
		v, err := decision.Ask(set, caller, want, key)
		if err != nil || v.Allowed != slices.Contains(listed.Keys, key) {
			return fmt.Errorf("got %s, and of %s was foretold %+v, %w", got.body, key, v, err)
		}
	}
	return nil
}

// TestQuestions asks for every permission at every kind of path under every identity,
// with policies that grant all of it: who may is what the list of operations says, and
// what no operation needs nobody may.
func TestQuestions(t *testing.T) {
	t.Parallel()
	var list []*policy.Policy
	for name, pattern := range map[string]string{"secrets": `^.*$`, "reserved": `^spike/system/.*$`} {
		p, err := policy.Compile(policy.Policy{
			Name: name, SPIFFEIDPattern: `^.*$`, PathPattern: pattern, Permissions: policy.All &^ policy.Super,
		})
		must(t, err)
		list = append(list, p)
	}
	all, none := policy.NewSet(list...), policy.NewSet()
	paths := append(decision.Reserved(), "web/db", "spike/systems")
	for _, permission := range policy.All.Names() {
		want, err := policy.ParsePermissions([]string{permission})
		must(t, err)
		for _, path := range paths {
			needed, roles := false, []string(nil)
			for _, op := range operations() {
				at := op.reserved == path || !slices.Contains(decision.Reserved(), path) && (op.reserved == "" || op.reserved == decision.PathList)
				if op.permission == permission && at {
					needed, roles = true, append(roles, op.roles...)
				}
			}
			for _, who := range everyone() {
				mine := plainRole(idOf(who))
				for set, granted := range map[*policy.Set]bool{all: true, none: false} {
					allowed := needed && (slices.Contains(roles, mine) || granted && mine == "workload")
					v, err := decision.Ask(set, callerOf(who), want, path)
					if v.Allowed != allowed || errors.Is(err, decision.ErrNothing) == needed || needed && err != nil {
						t.Errorf("%s, %s at %s, granted %v: %+v, %v", who, permission, path, granted, v, err)
					}
				}
			}
		}
	}
}
