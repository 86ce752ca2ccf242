package load

import (
	"slices"
	"time"
)

// Result is what a run measured.
type Result struct {
	Elapsed time.Duration
	// times are how long each request of a kind took, sorted.
	times [kinds][]time.Duration
}

// merge puts together what the workers noted.
func merge(elapsed time.Duration, workers []*worker) *Result {
	r := &Result{Elapsed: elapsed}
	for _, w := range workers {
		for kind, times := range w.times {
			r.times[kind] = append(r.times[kind], times...)
		}
	}
	for _, times := range r.times {
		slices.Sort(times)
	}
	return r
}

// Count is how many requests were answered.
func (r *Result) Count() (n int) {
	for _, times := range r.times {
		n += len(times)
	}
	return n
}

// Rate is how many requests were answered in a second.
func (r *Result) Rate() float64 { return float64(r.Count()) / r.Elapsed.Seconds() }

// Quantile is the time that the fraction q of the requests of a kind did not
// exceed; 0 when there were none.
func (r *Result) Quantile(kind Kind, q float64) time.Duration {
	times := r.times[kind]
	if len(times) == 0 {
		return 0
	}
	return times[min(int(q*float64(len(times))), len(times)-1)]
}
