package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// patience is how long one answer may take before a run is given up.
const patience = 30 * time.Second

// caller sends one request at a time and reads its answer.
type caller interface {
	do(r *Request) error
	close() error
}

// conn is one kept connection, and as little client as will do: it writes a
// request as it was made, and reads the answer's status, headers and body.
//
// Client and server share the processors, so whatever a client costs makes every
// server look more alike. A full client would hide the better half of what is to
// be measured.
type conn struct {
	address string
	config  *tls.Config

	tls    *tls.Conn // nil until the first request, and after an answer that closes
	reader *bufio.Reader
	body   []byte
}

func newConn(address string, config *tls.Config) *conn {
	return &conn{address: address, config: config}
}

// open connects, handshake included.
func (c *conn) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	t := tls.Client(raw, c.config)
	if err := t.HandshakeContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("TLS handshake: %w", err), raw.Close())
	}
	// One deadline for the connection, and not one for each request: nothing here
	// is kept longer than a run lasts.
	if err := raw.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		return errors.Join(err, raw.Close())
	}
	c.tls = t
	if c.reader == nil {
		c.reader = bufio.NewReaderSize(t, 4<<10)
	} else {
		c.reader.Reset(t)
	}
	return nil
}

// do sends a request and checks its answer.
func (c *conn) do(r *Request) error {
	if c.tls == nil {
		if err := c.open(); err != nil {
			return err
		}
	}
	if _, err := c.tls.Write(r.raw); err != nil {
		return err
	}
	a, err := readAnswer(c.reader, c.body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	c.body = a.body
	if a.closes {
		if err := c.close(); err != nil {
			return err
		}
	}
	return r.check(a.status, a.body)
}

// close ends the connection, if there is one.
func (c *conn) close() error {
	if c.tls == nil {
		return nil
	}
	t := c.tls
	c.tls = nil
	// Closed beneath TLS: its farewell is one more message that the server would
	// have to read.
	return t.NetConn().Close()
}

// unexpected is an answer that is not the one that was wanted. It repeats the
// answer: the secrets here are made up.
type unexpected struct {
	request *Request
	status  int
	body    string
}

func (u *unexpected) Error() string {
	return fmt.Sprintf("%s: got status %d, %q; want 200, %q", u.request.target, u.status, u.body, u.request.Want)
}

// check says whether an answer is as it should be.
func (r *Request) check(status int, body []byte) error {
	if status != http.StatusOK || !bytes.Equal(body, r.Want) {
		return &unexpected{r, status, string(body)}
	}
	return nil
}
