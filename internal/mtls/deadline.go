package mtls

import (
	"errors"
	"os"
	"sync"
	"time"
)

// deadline is one of a connection's two, for reading or for writing. An HTTP server
// moves them half a dozen times for each request, nearly always further away, and
// each time the runtime moves a timer. So the connection keeps an earlier one, and
// goes on when it has passed and the one that counts has not.
type deadline struct {
	mu     sync.Mutex
	want   time.Time // what counts; zero for none
	kept   time.Time // what the connection has, at most want while it is in use
	passed bool      // kept has passed, or is about to
	users  int       // calls under way

	// set sets the connection's.
	set func(time.Time) error
}

// move sets what counts from now on, for calls under way as well.
func (d *deadline) move(to time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = to
	if d.users == 0 {
		return nil
	}
	return d.keepLocked()
}

// begin is called before the connection is used. One whose deadline has passed is not
// used at all, and keeps what it has: an HTTP server that stops listening for a caller
// who goes away sets a deadline in the past, and takes it away again.
func (d *deadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dueLocked() && !d.want.IsZero() && !time.Now().Before(d.want) {
		return os.ErrDeadlineExceeded
	}
	if err := d.keepLocked(); err != nil {
		return err
	}
	d.users++
	return nil
}

// dueLocked says whether the connection must be given another deadline.
func (d *deadline) dueLocked() bool { return d.passed || before(d.want, d.kept) }

// keepLocked has the connection keep a deadline that is not after the one that
// counts.
func (d *deadline) keepLocked() error {
	if !d.dueLocked() {
		return nil
	}
	d.kept, d.passed = d.want, false
	return d.set(d.want)
}

// end is called with what using the connection returned. It reports whether it is
// to be used again, since it ended too early.
func (d *deadline) end(err error) (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.passed = true
	return d.want.IsZero() || time.Now().Before(d.want)
}

// before compares deadlines, of which zero is never.
func before(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// Read is net.Conn's.
func (c *conn) Read(b []byte) (int, error) {
	for {
		if err := c.reading.begin(); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		if again := c.reading.end(err); !again || n > 0 {
			return n, err
		}
	}
}

// Write is net.Conn's.
func (c *conn) Write(b []byte) (written int, err error) {
	for {
		if err := c.writing.begin(); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(b[written:])
		written += n
		if again := c.writing.end(err); !again {
			return written, err
		}
	}
}

// SetReadDeadline keeps an idle connection from waiting for its next request
// past the end of its peer's certificate.
func (c *conn) SetReadDeadline(t time.Time) error {
	if p := c.peer.Load(); p != nil && (t.IsZero() || t.After(p.ends)) {
		t = p.ends
	}
	return c.reading.move(t)
}

// SetWriteDeadline is net.Conn's.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.writing.move(t) }

// SetDeadline is net.Conn's.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
