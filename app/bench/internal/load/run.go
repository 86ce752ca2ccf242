package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Plan says what is to be sent, and how long.
type Plan struct {
	Address string
	// Identities are the client's ends of TLS: connection i has the one at i, and
	// the first follows the last.
	Identities []*tls.Config
	// Connections is how many requests are under way at any time.
	Connections int
	// Open is how many connections are open, at least Connections, which it is
	// when it is 0. Each worker uses its own in turn.
	Open int
	// Pick chooses a request. Its random numbers are the same in every run.
	Pick func(*rand.Rand) *Request
	// Warm is how long requests are sent before any is counted.
	Warm time.Duration
	// Began is called when the first request is about to be counted, and Ended when the
	// last has been, before any connection is closed; if they are there.
	Began, Ended func() error
	// Time and Count bound a run: whatever comes first. Count is for each worker;
	// 0 is no bound.
	Time  time.Duration
	Count int
	// Standard sends by net/http's client.
	Standard bool
	// Fresh makes a new connection for each request, which counts from its dialing.
	Fresh bool
}

// worker has some of the connections, and one request under way at a time.
type worker struct {
	plan    *Plan
	random  *rand.Rand
	callers []caller
	next    int
	times   [kinds][]time.Duration
}

// Run sends requests as planned. The connections are all open before the first
// one is counted. The first error ends the run.
func Run(ctx context.Context, p Plan) (*Result, error) {
	p.Open = max(p.Open, p.Connections)
	workers := make([]*worker, p.Connections)
	for i := range workers {
		workers[i] = &worker{plan: &p, random: rand.New(rand.NewPCG(1, uint64(i)))} //nolint:gosec // nobody is to be surprised
	}
	for i := range p.Open {
		w, config := workers[i%p.Connections], p.Identities[i%len(p.Identities)]
		if p.Standard {
			w.callers = append(w.callers, newStandard(p.Address, config))
		} else {
			w.callers = append(w.callers, newConn(p.Address, config))
		}
	}
	elapsed, err := runAll(ctx, &p, workers)
	for _, w := range workers {
		err = errors.Join(err, w.close())
	}
	if err != nil {
		return nil, err
	}
	r := merge(elapsed, workers)
	if r.Count() == 0 {
		return nil, fmt.Errorf("no request was answered within %s", p.Time)
	}
	return r, nil
}

// runAll has all workers open their connections, warm up and run, each step
// together.
func runAll(ctx context.Context, p *Plan, workers []*worker) (time.Duration, error) {
	var failed failure
	together := func(step func(*worker) error) {
		var wg sync.WaitGroup
		for _, w := range workers {
			wg.Go(func() { failed.note(step(w)) })
		}
		wg.Wait()
	}
	together(func(w *worker) error {
		for range w.callers {
			if failed.is() || ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.send(); err != nil {
				return err
			}
		}
		return nil
	})
	goOn := func(until time.Time) func() bool {
		return func() bool { return time.Now().Before(until) && !failed.is() && ctx.Err() == nil }
	}
	warm := goOn(time.Now().Add(p.Warm))
	together(func(w *worker) error {
		for warm() {
			if err := w.send(); err != nil {
				return err
			}
		}
		return nil
	})
	if p.Began != nil && !failed.is() {
		failed.note(p.Began())
	}
	began := time.Now()
	counted := goOn(began.Add(p.Time))
	together(func(w *worker) error {
		for n := 0; counted() && (p.Count == 0 || n < p.Count); n++ {
			if err := w.measure(); err != nil {
				return err
			}
		}
		return nil
	})
	elapsed := time.Since(began)
	if p.Ended != nil && !failed.is() {
		failed.note(p.Ended())
	}
	if err := failed.get(); err != nil {
		return 0, err
	}
	return elapsed, ctx.Err()
}

func (w *worker) send() error {
	return w.caller().do(w.plan.Pick(w.random))
}

func (w *worker) caller() caller {
	c := w.callers[w.next]
	w.next = (w.next + 1) % len(w.callers)
	return c
}

func (w *worker) measure() error {
	r, c := w.plan.Pick(w.random), w.caller()
	if w.plan.Fresh {
		if err := c.close(); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := c.do(r); err != nil {
		return err
	}
	w.times[r.Kind] = append(w.times[r.Kind], time.Since(began))
	return nil
}

func (w *worker) close() error {
	var errs []error
	for _, c := range w.callers {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// failure is the first error of several goroutines.
type failure struct {
	happened atomic.Bool

	mu  sync.Mutex
	err error
}

func (f *failure) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		f.happened.Store(true)
	}
}

func (f *failure) is() bool { return f.happened.Load() }

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
