package torture

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/spiffe/spike/internal/api"
)

// endTime is far more than the half second that Nexus gives to what is under way
// after a storage fault, and less than the 8 s that it has after SIGTERM.
const endTime = 6 * time.Second

// clientPaths is how many paths each client of TestFailedFlush writes to, in turn.
const clientPaths = 7

// TestFailedFlush has a disk fail its flushes under the whole program, with clients
// at work and others that began a request and stalled. No write is answered yes
// whose flush has failed, and the process ends soon, whoever is still connected.
func TestFailedFlush(t *testing.T) {
	if !isolated(t) {
		return
	}
	d := newDisk(t, 0)
	c := newCluster(t, "SPIKE_NEXUS_DATA_DIR="+d.folder)
	l := newLoad(t, c)
	for range 8 {
		l.stall(t)
	}
	var broken atomic.Bool
	answered := make([]map[string]int, clients) // by path: the last value that was answered yes
	var wg sync.WaitGroup
	for i := range clients {
		answered[i] = map[string]int{}
		wg.Go(func() {
			w := l.worker(i)
			defer w.client.Close()
			for n := 0; ; n++ {
				path := fmt.Sprintf("client-%d/%d", i, n%clientPaths)
				after := broken.Load()
				_, err := w.client.SecretPut(context.Background(), api.SecretPutRequest{Path: path, Values: api.Values{"k": fmt.Sprint(n)}})
				if err != nil {
					return
				}
				if after {
					t.Errorf("client %d was answered yes after flushes had begun to fail", i)
					return
				}
				answered[i][path] = n
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	d.mu.Lock()
	d.broken = true
	d.mu.Unlock()
	broken.Store(true)
	began := time.Now()
	exit, err := c.Nexus().Ended(t.Context())
	took := time.Since(began)
	must(t, err)
	wg.Wait()
	d.mu.Lock()
	failed := d.failed
	d.broken = false
	d.mu.Unlock()
	// What no flush has taken in goes, or some of it.
	must(t, d.restorePower())
	t.Logf("%d flushes failed, and Nexus ended with %v after %s", failed, exit, took.Round(time.Millisecond))
	if exit == nil || exit.Error() != "exit status 3" {
		t.Errorf("Nexus ended with %v, want exit status 3", exit)
	}
	if failed == 0 || took > endTime {
		t.Errorf("after %d flushes had failed, Nexus took %s to end", failed, took)
	}

	// Everything that was answered is there on the disk that works again.
	must(t, c.Nexus().Start())
	_, err = c.WaitOpen(t.Context())
	must(t, err)
	w := l.worker(clients)
	defer w.client.Close()
	writes := 0
	for i, paths := range answered {
		for path, value := range paths {
			writes++
			got, err := w.client.SecretGet(t.Context(), path, 0)
			must(t, err)
			// The next one may be there, of which the client was told nothing.
			if k := got["k"]; k != fmt.Sprint(value) && k != fmt.Sprint(value+clientPaths) {
				t.Errorf("%s of client %d is %q, and %d was answered", path, i, k, value)
			}
		}
	}
	if writes < clients {
		t.Errorf("only %d paths were written before the fault", writes)
	}
}

// stall connects and begins a request whose body it never ends. Nexus has read the
// header when it returns.
func (l *load) stall(t *testing.T) {
	t.Helper()
	config := tlsconfig.MTLSClientConfig(l.source, l.source, tlsconfig.AuthorizeAny())
	config.NextProtos = []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", l.cluster.URL().Host)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // Nexus may have closed it first
	_, err = fmt.Fprintf(conn, "POST %s?action=%s HTTP/1.1\r\nHost: nexus\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
		api.PathSecret, api.ActionList)
	must(t, err)
	// The answer to Expect comes when the handler reads the body.
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("a request that begins is answered %q, %v", line, err)
	}
	_, err = io.WriteString(conn, `{"prefix":"`)
	must(t, err)
}
