package keeper_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
)

// TestStrangerWithoutBody announces a body and sends none: the answer does not
// wait for it, and the connection ends.
func TestStrangerWithoutBody(t *testing.T) {
	p := newPeers(t)
	source := p.domain.Source("/web")
	for _, length := range []string{"Content-Length: 10", "Content-Length: 1000000000", "Transfer-Encoding: chunked"} {
		c, err := tls.Dial("tcp", p.address, mtls.ClientConfig(source, source, isKeeper))
		do(t, err)
		t.Cleanup(func() { _ = c.Close() })
		do(t, c.SetDeadline(time.Now().Add(10*time.Second))) // a third of the server's own limit
		_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: keeper\r\n%s\r\n\r\n", keeper.PathContribute, length)
		do(t, err)
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", length, err)
		}
		if res.StatusCode != http.StatusUnauthorized || !res.Close {
			t.Errorf("%s: got %d, closing %v", length, res.StatusCode, res.Close)
		}
		_, err = io.Copy(io.Discard, res.Body)
		do(t, err, res.Body.Close())
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection goes on: %v", length, err)
		}
	}
}

// TestLongRefusal: whoever still sends when it is refused reads why.
func TestLongRefusal(t *testing.T) {
	p := newPeers(t)
	for range 20 {
		got := p.send(p.http("/web"), http.MethodPost, keeper.PathContribute, string(make([]byte, 60<<10)))
		if got.status != http.StatusUnauthorized {
			t.Errorf("got %d", got.status)
		}
	}
}
