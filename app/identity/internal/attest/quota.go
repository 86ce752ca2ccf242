package attest

import (
	"log/slog"
	"sync"
	"time"
)

// refusalsLogged is the least time between two log lines of one Quota: a user at
// its limit must not be able to fill the log either.
const refusalsLogged = time.Minute

// Quota bounds how much of something each user may have at a time, so that one
// user cannot keep the provider from serving the others.
type Quota struct {
	what   string
	most   int
	logger *slog.Logger

	mu       sync.Mutex
	held     map[uint32]int
	loggedAt time.Time
}

// NewQuota lets every uid have at most so many of what is named.
func NewQuota(what string, most int, logger *slog.Logger) *Quota {
	return &Quota{what: what, most: most, logger: logger, held: map[uint32]int{}}
}

// Take counts one more for uid, or returns false if that is too many. Each true
// is followed by one Give.
func (q *Quota) Take(uid uint32) bool {
	ok, tell := q.take(uid, time.Now())
	if tell {
		q.logger.Warn("a user is at its limit; more are refused", "what", q.what, "limit", q.most, "uid", uid)
	}
	return ok
}

func (q *Quota) take(uid uint32, now time.Time) (ok, tell bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[uid] < q.most {
		q.held[uid]++
		return true, false
	}
	tell = q.loggedAt.IsZero() || now.Sub(q.loggedAt) >= refusalsLogged
	if tell {
		q.loggedAt = now
	}
	return false, tell
}

// Give returns one.
func (q *Quota) Give(uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[uid]--; q.held[uid] <= 0 {
		delete(q.held, uid)
	}
}
