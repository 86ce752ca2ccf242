package mtls

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// counting counts how often deadlines are set.
type counting struct {
	net.Conn
	read, write int
}

func (c *counting) SetReadDeadline(t time.Time) error {
	c.read++
	return c.Conn.SetReadDeadline(t)
}

func (c *counting) SetWriteDeadline(t time.Time) error {
	c.write++
	return c.Conn.SetWriteDeadline(t)
}

func pipe(t *testing.T) (c *conn, counts *counting, far net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	counts = &counting{Conn: near}
	return newConn(counts, time.Hour), counts, far
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// mind is must for goroutines that are not the test's own.
func mind(t *testing.T, errs ...error) {
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// waits checks that use ends with the deadline's error after exactly so long.
func waits(t *testing.T, want time.Duration, use func([]byte) (int, error)) {
	t.Helper()
	began := time.Now()
	if n, err := use(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
		t.Errorf("%d bytes, %v after %s; want the deadline's error after %s", n, err, time.Since(began), want)
	}
}

// TestDeadlinesHold goes through what can happen to a deadline. Reading and writing
// are the same but for their names.
func TestDeadlinesHold(t *testing.T) {
	t.Parallel()
	type side struct {
		use   func([]byte) (int, error)
		set   func(time.Time) error
		serve func(net.Conn) error // the other end's part
	}
	one := make([]byte, 1)
	for name, of := range map[string]func(*conn) side{
		"reading": func(c *conn) side {
			return side{c.Read, c.SetReadDeadline, func(far net.Conn) error { _, err := far.Write(one); return err }}
		},
		"writing": func(c *conn) side {
			return side{c.Write, c.SetWriteDeadline, func(far net.Conn) error { _, err := far.Read(make([]byte, 1)); return err }}
		},
	} {
		within := func(what string, f func(*testing.T, side, net.Conn)) {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, _, far := pipe(t)
					f(t, of(c), far)
				})
			})
		}
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		within("nearer, then further away", func(t *testing.T, s side, _ net.Conn) {
			must(t, s.set(in(time.Second)))
			waits(t, time.Second, s.use)
			must(t, s.set(in(time.Minute)), s.set(in(2*time.Second)))
			waits(t, 2*time.Second, s.use)
			must(t, s.set(in(time.Hour)))
			waits(t, time.Hour, s.use)
		})
		within("passed already", func(t *testing.T, s side, _ net.Conn) {
			must(t, s.set(time.Unix(1, 0)))
			waits(t, 0, s.use)
			waits(t, 0, s.use)
		})
		within("moved further away during a call", func(t *testing.T, s side, _ net.Conn) {
			must(t, s.set(in(time.Second)))
			time.AfterFunc(time.Second/2, func() { mind(t, s.set(in(time.Minute))) })
			waits(t, time.Second/2+time.Minute, s.use)
		})
		within("moved nearer during a call", func(t *testing.T, s side, _ net.Conn) {
			must(t, s.set(in(time.Hour)))
			time.AfterFunc(time.Second, func() { mind(t, s.set(time.Unix(1, 0))) })
			waits(t, time.Second, s.use)
			// And away again, as a server does that has ended a call.
			must(t, s.set(time.Time{}), s.set(in(time.Second)))
			waits(t, time.Second, s.use)
		})
		within("taken away during a call", func(t *testing.T, s side, far net.Conn) {
			must(t, s.set(in(time.Second)))
			time.AfterFunc(time.Second/2, func() { mind(t, s.set(time.Time{})) })
			served := make(chan error, 1)
			time.AfterFunc(time.Hour, func() { served <- s.serve(far) })
			if n, err := s.use(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			must(t, <-served)
		})
		within("an earlier one that has passed in between", func(t *testing.T, s side, far net.Conn) {
			must(t, s.set(in(time.Second)))
			served := make(chan error, 2)
			go func() { served <- s.serve(far) }()
			_, err := s.use(make([]byte, 1))
			must(t, err, <-served, s.set(in(time.Hour)))
			time.Sleep(time.Minute)
			go func() { served <- s.serve(far) }()
			_, err = s.use(make([]byte, 1))
			must(t, err, <-served)
		})
	}
}

// TestLongWritesGoOn: what was written before an earlier deadline passed is not
// written again.
func TestLongWritesGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _, far := pipe(t)
		must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		const all = "0123456789"
		read := make(chan string, 1)
		go func() {
			var got []byte
			for b := make([]byte, 1); len(got) < len(all); time.Sleep(time.Second) {
				n, err := far.Read(b)
				mind(t, err)
				got = append(got, b[:n]...)
			}
			read <- string(got)
		}()
		time.AfterFunc(time.Second, func() { mind(t, c.SetDeadline(time.Now().Add(time.Minute))) })
		n, err := c.Write([]byte(all))
		must(t, err)
		if got := <-read; n != len(all) || got != all {
			t.Errorf("wrote %d, the other end read %q", n, got)
		}
	})
}

// TestRequestsMoveNoDeadlines plays what an HTTP server does for each request.
func TestRequestsMoveNoDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, counts, far := pipe(t)
		go func() {
			for b := make([]byte, 1); ; {
				if _, err := far.Write(b); err != nil {
					return
				}
				if _, err := far.Read(b); err != nil {
					return
				}
			}
		}()
		b := make([]byte, 1)
		for range 100 {
			must(t, c.SetReadDeadline(time.Now().Add(2*time.Minute)))
			_, err := c.Read(b)
			must(t, err, c.SetReadDeadline(time.Time{}), c.SetReadDeadline(time.Now().Add(10*time.Second)),
				c.SetReadDeadline(time.Now().Add(30*time.Second)), c.SetWriteDeadline(time.Now().Add(time.Minute)))
			_, err = c.Write(b)
			// What listens for a caller that goes away may only begin when it is to end.
			must(t, err, c.SetReadDeadline(time.Unix(1, 0)))
			waits(t, 0, c.Read)
			must(t, c.SetReadDeadline(time.Time{}))
			time.Sleep(100 * time.Millisecond)
		}
		if counts.read > 1 || counts.write > 1 {
			t.Errorf("100 requests moved the deadlines %d and %d times", counts.read, counts.write)
		}
	})
}
