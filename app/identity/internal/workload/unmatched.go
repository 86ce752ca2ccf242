package workload

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/spiffe/spike/app/identity/internal/attest"
)

const (
	// repeatAfter is how long the same caller is not mentioned again: stock
	// clients ask every few seconds until they are given an identity.
	repeatAfter = 10 * time.Minute

	// maxMentioned bounds the memory and the log lines that callers without an
	// identity can cause within repeatAfter.
	maxMentioned = 256
)

// unmatched logs callers that no entry matches, so that an entry can be written
// from the line, and each of them rarely.
type unmatched struct {
	logger *slog.Logger

	mu   sync.Mutex
	seen map[stranger]time.Time
	full bool
}

// stranger is a caller without its pid: every try of a program that gives up
// and is started again would count as new.
type stranger struct {
	uid, gid uint32
	exe      string
}

func newUnmatched(logger *slog.Logger) *unmatched {
	return &unmatched{logger: logger, seen: map[stranger]time.Time{}}
}

// forget makes every caller worth a line again; new entries may have been meant
// for it.
func (u *unmatched) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.seen)
	u.full = false
}

func (u *unmatched) report(c attest.Caller) {
	// "identity health" asks often and wants no identity.
	if c.Runs("/proc/self/exe") {
		u.logger.Debug("no identity issued to a health check", "uid", c.UID, "pid", c.PID)
		return
	}
	first, full := u.note(stranger{uid: c.UID, gid: c.GID, exe: c.ExeName}, time.Now())
	if full {
		u.logger.Warn("many different callers have no entry; further ones are not listed for now")
	}
	if !first {
		return
	}
	attrs := []any{"uid", c.UID, "gid", c.GID, "pid", c.PID, "exe", c.ExeName}
	if c.ExeErr != nil {
		attrs = append(attrs, "exe_error", c.ExeErr)
	}
	// An entry with the stand-in's number would read as if it named one user, and
	// is meant by none.
	if c.UIDUnknown {
		u.logger.Warn("no identity issued: the caller's user has no number in this user namespace, and the uid shown stands for all such users, so that no entry can fit; give the user a number there, or run identity outside of it", attrs...)
		return
	}
	u.logger.Warn("no identity issued: no entry matches this caller; to give it one, add an entry", append(attrs, "entry", suggestion(c))...)
}

// note tells whether the caller is to be logged, and whether it is the first
// that there is no more room for.
func (u *unmatched) note(s stranger, now time.Time) (first, full bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.seen[s]; ok && now.Sub(at) < repeatAfter {
		return false, false
	}
	if len(u.seen) >= maxMentioned {
		for other, at := range u.seen {
			if now.Sub(at) >= repeatAfter {
				delete(u.seen, other)
			}
		}
	}
	if len(u.seen) >= maxMentioned {
		full = !u.full
		u.full = true
		return false, full
	}
	u.full = false
	u.seen[s] = now
	return true, false
}

// suggestion is an entry for the caller but for its name, which is for people to
// choose.
func suggestion(c attest.Caller) string {
	if c.ExeErr != nil {
		return fmt.Sprintf("{id: /NAME, uid: %d}", c.UID)
	}
	path, replaced := strings.CutSuffix(c.ExeName, " (deleted)")
	s := fmt.Sprintf("{id: /NAME, path: %s, uid: %d}", scalar(path), c.UID)
	if replaced {
		s += " (the file was replaced or removed while the process runs: start the process again)"
	}
	return s
}

// scalar quotes text for YAML where that is needed: the log's own quoting makes
// quotes in it hard to read.
func scalar(text string) string {
	for _, r := range text {
		if !strings.ContainsRune("/._-+@", r) && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			return strconv.Quote(text)
		}
	}
	return text
}
