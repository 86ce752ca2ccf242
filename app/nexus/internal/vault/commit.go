package vault

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/api"
)

// The most that one transaction takes.
const (
	maxBatchWrites = 1024
	maxBatchBytes  = 8 << 20
)

// write is one change that waits for the committer, or something else that is to
// be done between two commits.
type write struct {
	size  int // bytes of values, about
	apply func(*tx) error
	alone func(*held) error // instead of apply
	taken atomic.Int32      // 0 waiting, then once one of the following
	done  chan error
}

const (
	writeTaken = iota + 1
	writeWithdrawn
)

// committer owns all changes. It takes every write that waits, decides each in
// order, and makes them durable in one transaction.
type committer struct {
	vault *Vault
	keys  *seal.Keyring
	queue chan *write
	ended chan struct{}

	// held is what the store holds, as of the last commit. Only the goroutine
	// touches it.
	held held

	mu       sync.RWMutex
	stopping bool
	senders  sync.WaitGroup // those between accept and the queue
}

func newCommitter(v *Vault, keys *seal.Keyring, h held) *committer {
	c := &committer{
		vault: v, keys: keys, held: h,
		queue: make(chan *write, maxBatchWrites), ended: make(chan struct{}),
	}
	go c.run()
	return c
}

// stop refuses further writes and returns when the accepted ones are answered.
func (c *committer) stop() {
	c.mu.Lock()
	already := c.stopping
	c.stopping = true
	c.mu.Unlock()
	if !already {
		c.senders.Wait()
		close(c.queue)
	}
	<-c.ended
}

func (c *committer) accept() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.stopping {
		return api.ErrNotReady
	}
	c.senders.Add(1)
	return nil
}

// submit hands a write over and waits for its end. A caller that gives up before
// the write is taken withdraws it; after that it runs to its end, whoever waits.
func (c *committer) submit(ctx context.Context, w *write) error {
	if err := c.accept(); err != nil {
		return err
	}
	select {
	case c.queue <- w:
		c.senders.Done()
	case <-ctx.Done():
		c.senders.Done()
		return fmt.Errorf("gave up waiting to write: %w", ctx.Err())
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.taken.CompareAndSwap(0, writeWithdrawn) {
			return fmt.Errorf("gave up waiting to write: %w", ctx.Err())
		}
		return <-w.done
	}
}

func (c *committer) run() {
	defer close(c.ended)
	var next *write
	for {
		if next == nil {
			w, ok := <-c.queue
			if !ok {
				return
			}
			next = w
		}
		if next.alone != nil {
			c.doAlone(next)
			next = nil
			continue
		}
		c.waitForMore()
		var batch []*write
		batch, next = c.gather(next)
		c.commit(batch)
	}
}

// waitForMore lets those run that are about to hand a write over: fewer and larger
// transactions cost less. It never waits for anybody who would not run now.
func (c *committer) waitForMore() {
	for waiting := -1; len(c.queue) > waiting; {
		waiting = len(c.queue)
		runtime.Gosched()
	}
}

// doAlone does what is not to be part of any batch.
func (c *committer) doAlone(w *write) {
	if !w.taken.CompareAndSwap(0, writeTaken) {
		return
	}
	err := c.vault.Failure()
	if err == nil {
		err = w.alone(&c.held)
	}
	w.done <- err
}

// gather takes what waits, up to the limits. What no longer fitted is returned as
// rest and comes next.
func (c *committer) gather(first *write) (batch []*write, rest *write) {
	size := 0
	for w := first; ; {
		if size > 0 && size+w.size > maxBatchBytes || w.alone != nil {
			return batch, w
		}
		if w.taken.CompareAndSwap(0, writeTaken) {
			batch = append(batch, w)
			size += w.size
		}
		if len(batch) == maxBatchWrites {
			return batch, nil
		}
		select {
		case next, ok := <-c.queue:
			if !ok {
				return batch, nil
			}
			w = next
		default:
			return batch, nil
		}
	}
}

// commit decides the writes of a batch and answers them: all after the
// transaction, since even a refusal may rest on a write before it.
func (c *committer) commit(batch []*write) {
	if err := c.vault.Failure(); err != nil {
		answer(batch, nil, err)
		return
	}
	t := newTx(c.keys, &c.held)
	results := make([]error, len(batch))
	for i, w := range batch {
		results[i] = w.apply(t)
	}
	if failpoint.Fault("answer-before-commit") {
		answer(batch, results, nil)
		batch = nil
	}
	if err := c.store(t); err != nil {
		t.discard()
		if !errors.Is(err, ErrFull) {
			c.vault.fail(err)
		} else {
			c.vault.log.Error("a write was refused: there is no room for the store", "error", err)
		}
		// Nobody is told yes, and memory is what it was.
		answer(batch, nil, err)
		return
	}
	answer(batch, results, nil)
}

// store makes t durable, and then visible.
func (c *committer) store(t *tx) error {
	if t.empty() {
		return nil
	}
	b, err := t.batch()
	if err != nil {
		return err
	}
	if failpoint.Fault("publish-before-commit") {
		c.vault.publish(&snapshot{held: t.held.copy(), accepted: t.anew})
	}
	failpoint.Hit("commit.before")
	// Once taken, a write runs to its end: no caller's context applies.
	err = c.vault.store.Commit(context.Background(), b)
	if failpoint.Fault("fail-commits") {
		err = errors.Join(err, errors.New("failed on purpose"))
	}
	if err != nil {
		c.vault.full.Store(errors.Is(err, ErrFull))
		return err
	}
	c.vault.full.Store(false)
	failpoint.Hit("commit.after")
	c.held = t.held
	if t.header != nil {
		c.vault.setHeader(t.header)
	}
	c.vault.publish(&snapshot{held: c.held.copy(), accepted: t.anew})
	failpoint.Hit("commit.published")
	return nil
}

// publish makes a snapshot the one that reads see, unless the vault failed.
func (v *Vault) publish(s *snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.state == api.StateBehind && s.accepted:
		v.state, v.rollback = api.StateOpen, nil
		fallthrough
	case v.state == api.StateOpen:
		v.current.Store(s)
	}
}

func answer(batch []*write, results []error, err error) {
	for i, w := range batch {
		if results != nil {
			err = results[i]
		}
		w.done <- err
	}
}
