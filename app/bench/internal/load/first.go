package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// First sends a request again and again, a millisecond after each failure, until
// it is answered as it should be. A server that starts has no other way to say
// that it is there.
func First(ctx context.Context, address string, identity *tls.Config, r *Request) error {
	c := newConn(address, identity)
	for {
		err := c.do(r)
		if err == nil {
			return c.close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for an answer: %w", err)
		case <-time.After(time.Millisecond):
		}
		// A server that answers, but not yet with what is asked for, has a good
		// connection already.
		var answer *unexpected
		if !errors.As(err, &answer) {
			if err := c.close(); err != nil {
				return err
			}
		}
	}
}
