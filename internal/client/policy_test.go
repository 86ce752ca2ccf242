package client_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/identitytest"
)

// scripted is a server that must be sent want, and answers with answer.
func scripted(t *testing.T, domain *identitytest.Domain, want, answer string) *client.Client {
	t.Helper()
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if got := r.URL.RequestURI() + " " + strings.TrimSpace(string(body)); got != want || err != nil {
			t.Errorf("sent %s, want %s (%v)", got, want, err)
		}
		_, _ = io.WriteString(w, answer)
	})
	return dial(t, domain.Source("/alice"), to, 0)
}

func TestPolicies(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	put := api.PolicyPutRequest{Name: "web", SPIFFEIDPattern: "^a$", PathPattern: "^b<$", Permissions: []string{"read"}}
	err := scripted(t, domain, `/v1/acl/policy {"name":"web","spiffeidPattern":"^a$","pathPattern":"^b<$","permissions":["read"]}`,
		`{"id":"web"}`).PolicyPut(t.Context(), put)
	if err != nil {
		t.Errorf("put: %v", err)
	}
	// The pattern has another name as well, which only older clients read.
	const answer = `{"id":"web","name":"web","spiffiedPattern":"^a$","spiffeidPattern":"^a$","pathPattern":"^b$",` +
		`"permissions":["read","list"],"createdAt":"2026-01-02T03:04:05Z","updatedAt":"2026-01-02T03:04:06Z"}`
	p, err := scripted(t, domain, `/v1/acl/policy?action=get {"id":"web"}`, answer).PolicyGet(t.Context(), "web")
	if err != nil || p.SPIFFEIDPattern != "^a$" || p.PathPattern != "^b$" || len(p.Permissions) != 2 || p.UpdatedAt.Second() != 6 {
		t.Errorf("get: %+v, %v", p, err)
	}
	_, err = scripted(t, domain, `/v1/acl/policy?action=get {"id":"db"}`, answer).PolicyGet(t.Context(), "db")
	if !errors.Is(err, client.ErrProtocol) {
		t.Errorf("got another policy: %v", err)
	}
	names, err := scripted(t, domain, `/v1/acl/policy?action=list {"pathPattern":"^b$"}`,
		`{"policies":[{"id":"a","name":"a"},{"id":"b","name":"b"}]}`).PolicyList(t.Context(), api.PolicyListRequest{PathPattern: "^b$"})
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("list: %v, %v", names, err)
	}
	err = scripted(t, domain, `/v1/acl/policy?action=delete {"id":"web"}`, `{"err":"api_not_found"}`).PolicyDelete(t.Context(), "web")
	if !errors.Is(err, api.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
}
