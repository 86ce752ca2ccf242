package torture

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind is what an operation does to one path.
type kind string

const (
	opPut      kind = "put"
	opGet      kind = "get"
	opDelete   kind = "delete"
	opUndelete kind = "undelete"
	opDestroy  kind = "destroy"
	opMetadata kind = "metadata"
	opList     kind = "list"
	opPage     kind = "page" // a list that begins after a path, and ends at a limit
)

// writes reports whether the operation can change what is there.
func (k kind) writes() bool {
	return k == opPut || k == opDelete || k == opUndelete || k == opDestroy
}

// input is what was asked for.
type input struct {
	kind    kind
	path    string
	value   string // of a put; no two puts have the same
	cas     int    // of a put: the version that must be current, or anyVersion
	version int    // of the rest; 0 is the current one
}

const anyVersion = -1

// result is how an operation ended.
type result string

const (
	done     result = "done"
	notFound result = "not found"
	conflict result = "conflict"
	unknown  result = "unknown" // no answer, or 500: it may have happened or not
)

// output is what was answered.
type output struct {
	result  result
	version int    // of a put, and of metadata: the current one
	value   string // of a get
	seen    string // of metadata: see describeVersion
	listed  bool   // of a list or a page: whether the path is in it
}

// event is one operation of one client, from call to answer.
type event struct {
	client       int
	in           input
	out          output
	called, back time.Duration // since the beginning of the history
}

// history is everything that the clients of a cluster did and saw.
type history struct {
	began time.Time

	mu     sync.Mutex
	events []event
	lists  []listing
	audits map[string][]audit // by path
	// starts are the moments at which Nexus was started again. Whatever an
	// earlier one had not done by then it never does.
	starts []time.Duration
}

// listing is one answered list, of the paths with a prefix, or some in a row of them.
type listing struct {
	called, back time.Duration
	prefix       string
	after, upto  string // it tells of those after the one, and not beyond the other; "" is no bound
	paths        map[string]bool
}

// tells reports whether a path would be in the list if it were there.
func (l *listing) tells(path string) bool {
	return strings.HasPrefix(path, l.prefix) && path > l.after && (l.upto == "" || path <= l.upto)
}

// audit is what one client read of a path while nobody else did anything.
type audit struct {
	called  time.Duration
	current int
	values  map[int]string // by version; without the deleted and destroyed ones
}

func (a *audit) numberOf(value string) int {
	for number, v := range a.values {
		if v == value {
			return number
		}
	}
	return 0
}

// shows reports whether the audit has the values of all those versions.
func (a *audit) shows(first, last int) bool {
	for number := first; number <= last; number++ {
		if _, ok := a.values[number]; !ok {
			return false
		}
	}
	return true
}

func newHistory() *history { return &history{began: time.Now(), audits: map[string][]audit{}} }

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *history) addList(l listing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lists = append(h.lists, l)
}

// restarts notes that the old Nexus has ended and the next one is about to begin.
func (h *history) restarts() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starts = append(h.starts, h.now())
}

func (h *history) addAudit(path string, a audit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.audits[path] = append(h.audits[path], a)
}

// byPath is the history of each path.
func (h *history) byPath() map[string][]event {
	h.mu.Lock()
	defer h.mu.Unlock()
	paths := map[string][]event{}
	for _, e := range h.events {
		if e.out.result == unknown {
			e.back = h.deadAfterLocked(e.back)
		}
		paths[e.in.path] = append(paths[e.in.path], e)
	}
	for path := range paths {
		paths[path] = resolve(paths[path], h.audits[path])
	}
	return paths
}

// deadAfterLocked is when the Nexus that was asked before at was dead for
// certain: at the start of the next one, or at the end of time.
func (h *history) deadAfterLocked(at time.Duration) time.Duration {
	i, found := slices.BinarySearch(h.starts, at)
	if found {
		i++
	}
	if i == len(h.starts) {
		return math.MaxInt64
	}
	return h.starts[i]
}

// resolve finds out what became of the puts that were not answered, where a later
// audit can tell: a value that is there was put, and got that version; and one
// that is not, although every version is in sight that it could have got, was
// not put, and is left out. Nothing is taken for granted by this: the model is
// still to explain the audit, and all that others saw. It only need not guess.
func resolve(events []event, audits []audit) []event {
	resolved := make([]event, 0, len(events))
	for _, e := range events {
		if e.in.kind != opPut || e.out.result != unknown {
			resolved = append(resolved, e)
			continue
		}
		i := slices.IndexFunc(audits, func(a audit) bool { return a.called >= e.back })
		if i < 0 {
			resolved = append(resolved, e)
			continue
		}
		a := &audits[i]
		if number := a.numberOf(e.in.value); number > 0 {
			e.out = output{result: done, version: number}
			resolved = append(resolved, e)
		} else if !a.shows(knownBefore(events, e.called)+1, a.current) {
			resolved = append(resolved, e)
		}
	}
	return resolved
}

// knownBefore is the highest version that was told of before at.
func knownBefore(events []event, at time.Duration) int {
	highest := 0
	for i := range events {
		if e := &events[i]; e.back < at && e.out.result == done {
			highest = max(highest, e.out.version)
		}
	}
	return highest
}

// count is how many operations of a kind ended so.
func (h *history) count(k kind, r result) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for i := range h.events {
		if e := &h.events[i]; e.in.kind == k && e.out.result == r {
			n++
		}
	}
	return n
}

// summary is for people.
func (h *history) summary() string {
	text := ""
	for _, k := range []kind{opPut, opGet, opDelete, opUndelete, opDestroy, opMetadata, opList, opPage} {
		text += fmt.Sprintf(" %s %d", k, h.count(k, done))
		for _, r := range []result{notFound, conflict, unknown} {
			if n := h.count(k, r); n > 0 {
				text += fmt.Sprintf(" (%d %s)", n, r)
			}
		}
	}
	return text[1:]
}
