package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

const (
	headerTime = 2 * time.Second  // as set
	bodyTime   = 30 * time.Second // as Nexus has it
	slack      = 20 * time.Second // for a busy machine
)

// flood is a Nexus that is beset, with somebody else who wants to be served.
type flood struct {
	t       *testing.T
	world   *world
	cluster *clustertest.Cluster
	wg      sync.WaitGroup
}

// TestFlood has callers of all bad manners at once. Each is cut off in time, memory
// stays where it was but for 64 MB, and others are served.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := &flood{t: t, world: w, cluster: w.start(t, "open", "SPIKE_HTTP_SERVER_READ_HEADER_TIMEOUT="+headerTime.String())}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other := make(chan []time.Duration, 1)
	go func() { other <- f.other(ctx) }()
	before, err := f.cluster.Nexus().Resident()
	must(t, err)
	most := make(chan int64, 1)
	go func() { most <- f.watch(ctx) }()

	for i := range 10 {
		who := fmt.Sprintf("/idle/%d", i)
		f.wg.Go(func() { f.idle(ctx, who, 100) })
	}
	for range 50 {
		f.wg.Go(f.silent)
		f.wg.Go(f.slowHeader)
		f.wg.Go(f.slowBody)
	}
	for range 2 {
		f.wg.Go(func() { f.gigabyte(true) })
		f.wg.Go(func() { f.gigabyte(false) })
		f.wg.Go(func() { f.refused(strings.Repeat("[", 8<<20)) })
		f.wg.Go(func() { f.refused(`{"path":` + strings.Repeat(`{"a":`, 1<<20) + strings.Repeat("}", 1<<20) + `}`) })
	}
	must(t, wait(ctx, 5*time.Second)) // the idle ones are there as long as this, at least
	cancel()
	f.wg.Wait()
	if grown := <-most - before; grown > 64<<20 {
		t.Errorf("Nexus had %d MB, and then %d MB more", before>>20, grown>>20)
	} else {
		t.Logf("Nexus had %d MB, and at most %d MB more", before>>20, grown>>20)
	}
	took := <-other
	slices.Sort(took)
	t.Logf("%d requests of another caller took %s at the median and %s at the 99th percentile",
		len(took), took[len(took)/2], took[len(took)*99/100])
	if took[len(took)*99/100] > 2*time.Second {
		t.Error("others wait too long")
	}
}

// other calls all the time, and returns how long each call took.
func (f *flood) other(ctx context.Context) (took []time.Duration) {
	source, err := f.world.source("superuser")
	if err != nil {
		f.t.Error(err)
		return nil
	}
	to := transport(source, role.Nexus)
	defer to.CloseIdleConnections()
	for ctx.Err() == nil || len(took) == 0 {
		began := time.Now()
		// One in ten comes anew, as others do.
		if len(took)%10 == 9 {
			to.CloseIdleConnections()
		}
		a, err := send(f.t.Context(), to, f.cluster.URL(), http.MethodPost, "/v1/store/secrets?action=list", "application/json", `{}`)
		if err != nil || a.status != http.StatusOK {
			f.t.Errorf("another caller got %d, %v", a.status, err)
		}
		took = append(took, time.Since(began))
		_ = wait(ctx, 5*time.Millisecond) // ends with ctx, as the loop does
	}
	return took
}

// watch returns the most memory that Nexus had.
func (f *flood) watch(ctx context.Context) (most int64) {
	for {
		now, err := f.cluster.Nexus().Resident()
		if err != nil {
			f.t.Error(err)
		}
		most = max(most, now)
		if wait(ctx, 50*time.Millisecond) != nil {
			return most
		}
	}
}

// dial returns a connection that has shown whose it is.
func (f *flood) dial(who string) *tls.Conn {
	source, err := f.world.source(who)
	if err != nil {
		f.t.Error(err)
		return nil
	}
	c, err := tls.Dial("tcp", f.cluster.URL().Host, transport(source, role.Nexus).TLSClientConfig)
	if err != nil {
		f.t.Error(err)
		return nil
	}
	return c
}

// ended waits until the server ends a connection.
func (f *flood) ended(what string, c net.Conn, within time.Duration) {
	began := time.Now()
	if err := c.SetReadDeadline(began.Add(within + slack)); err != nil {
		f.t.Error(err)
	}
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		f.t.Errorf("%s was not cut off within %s", what, within+slack)
	}
	_ = c.Close()
}

// idle leaves connections behind, each after one request.
func (f *flood) idle(ctx context.Context, who string, n int) {
	source, err := f.world.source(who)
	if err != nil {
		f.t.Error(err)
		return
	}
	for range n {
		to := transport(source, role.Nexus)
		defer to.CloseIdleConnections()
		if _, err := send(f.t.Context(), to, f.cluster.URL(), http.MethodPost, "/v1/store/secrets?action=list", "application/json", `{}`); err != nil {
			f.t.Errorf("an idle connection of %s: %v", who, err)
		}
	}
	<-ctx.Done()
}

// silent connects and says nothing.
func (f *flood) silent() {
	c, err := net.Dial("tcp", f.cluster.URL().Host)
	if err != nil {
		f.t.Error(err)
		return
	}
	f.ended("a silent connection", c, headerTime)
}

// slowHeader sends a header that never ends.
func (f *flood) slowHeader() {
	if c := f.dial("/slow/header"); c != nil {
		f.drip(c, "POST /v1/store/secrets HTTP/1.1\r\nHost: nexus\r\nX-Slow: ", headerTime)
	}
}

// slowBody announces more than it sends.
func (f *flood) slowBody() {
	if c := f.dial("/slow/body"); c != nil {
		f.drip(c, "POST /v1/store/secrets HTTP/1.1\r\nHost: nexus\r\nContent-Length: 1000000\r\n\r\n", bodyTime)
	}
}

// drip sends begin at once, and then a byte now and then.
func (f *flood) drip(c net.Conn, begin string, within time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := io.WriteString(c, begin)
		for err == nil {
			if wait(f.t.Context(), 200*time.Millisecond) != nil {
				return
			}
			_, err = io.WriteString(c, "x")
		}
	}()
	f.ended(strings.TrimSpace(begin), c, within)
	<-done
}

// gigabyte sends one, or until nobody takes it any more.
func (f *flood) gigabyte(announced bool) {
	c := f.dial("/gigabyte")
	if c == nil {
		return
	}
	const size = 1 << 30
	head := "POST /v1/store/secrets HTTP/1.1\r\nHost: nexus\r\nContent-Length: 1073741824\r\n\r\n"
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	if !announced {
		head = "POST /v1/store/secrets HTTP/1.1\r\nHost: nexus\r\nTransfer-Encoding: chunked\r\n\r\n"
		chunk = append(append([]byte("10000\r\n"), chunk...), "\r\n"...)
	}
	taken := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := io.WriteString(c, head)
		for err == nil && taken < size {
			_, err = c.Write(chunk)
			taken += len(chunk)
		}
	}()
	f.ended("a gigabyte", c, bodyTime)
	<-done
	if taken > 64<<20 {
		f.t.Errorf("of a gigabyte %d MB were taken", taken>>20)
	}
}

// refused sends a body that nobody wants.
func (f *flood) refused(body string) {
	source, err := f.world.source("/deep")
	if err != nil {
		f.t.Error(err)
		return
	}
	to := transport(source, role.Nexus)
	defer to.CloseIdleConnections()
	a, err := send(f.t.Context(), to, f.cluster.URL(), http.MethodPost, "/v1/store/secrets", "application/json", body)
	if err != nil || a.status != http.StatusBadRequest {
		f.t.Errorf("%.20s… got %d, %v", body, a.status, err)
	}
}
