package mtls_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
)

// TestOldestIdleGoesFirst: at the cap a newcomer gets in, in the place of whoever
// has waited longest for a request, and of nobody else.
func TestOldestIdleGoesFirst(t *testing.T) {
	const most = 8
	domain := identitytest.NewDomain(t, "spike.ist")
	url := serve(t, domain.Source("/server"), func(c *mtls.ServerConfig) { c.MaxConnections = most })
	call := func(c *http.Client) (reused bool) {
		t.Helper()
		reused, err := post(c, url)
		if err != nil {
			t.Fatal(err)
		}
		// The server books a connection as idle a moment after its answer.
		time.Sleep(20 * time.Millisecond)
		return reused
	}
	var callers []*http.Client
	for i := range most {
		callers = append(callers, client(t, domain.Source(fmt.Sprintf("/caller/%d", i))))
		call(callers[i])
	}
	if !call(callers[0]) { // and so it is the newest again
		t.Fatal("a connection was lost below the cap")
	}
	for i := range 3 {
		call(client(t, domain.Source(fmt.Sprintf("/newcomer/%d", i))))
	}
	// From the newest down, as to connect anew ends others.
	for _, i := range []int{0, 7, 6, 5, 4} {
		if !call(callers[i]) {
			t.Errorf("caller %d lost its connection", i)
		}
	}
	for _, i := range []int{3, 2, 1} {
		if call(callers[i]) {
			t.Errorf("caller %d, of the oldest, kept its connection", i)
		}
	}
}
