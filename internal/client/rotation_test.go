package client_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/identitytest"
)

// TestKeptConnection: what is kept of an earlier call is used only as long as
// both ends are who they were.
func TestKeptConnection(t *testing.T) {
	domain, away := identitytest.NewDomain(t, "spike.ist"), identitytest.NewDomain(t, "away.example")
	var from []string
	source := domain.Source("/admin", away)
	c := dial(t, source, nexus(t, away.Source("/spike/nexus", domain), func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		answer(http.StatusOK, `{"keys":[]}`)(w, r)
	}), 10*time.Second)
	call := func() error { return list(t.Context(), c) }
	for range 2 {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	source.Use(domain.SVID("/admin", time.Hour))
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if len(from) != 3 || from[0] != from[1] || from[1] == from[2] {
		t.Errorf("came from %v", from)
	}
	source.Trust(domain)
	if err := call(); !errors.Is(err, client.ErrUntrusted) {
		t.Errorf("no longer trusted: got %v", err)
	}
	if len(from) != 3 {
		t.Error("a server that is not trusted got a request")
	}
}
