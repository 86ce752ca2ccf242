package load

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
)

// Each sends every request once, so many at a time. The first error ends it.
func Each(ctx context.Context, address string, identity *tls.Config, connections int, requests []*Request) error {
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed failure
	)
	for range connections {
		wg.Go(func() {
			c := newConn(address, identity)
			for !failed.is() && ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(requests)) {
					break
				}
				failed.note(c.do(requests[i]))
			}
			failed.note(c.close())
		})
	}
	wg.Wait()
	return errors.Join(failed.get(), ctx.Err())
}
