package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Whoever holds an identity of a trusted domain can send bodies before it is
// known what it may do. Those up to smallBody are read at once. Larger ones share
// roomForBodies, from before they are read until they are answered, and count
// threefold: as they came, decoded, and encoded again.
const (
	smallBody     = 16 << 10
	roomForBodies = 48 << 20
	copies        = 3
)

// A large body must come at some pace while it holds room.
const (
	bodyGrace = 2 * time.Second
	bodyPace  = 1 << 20 // bytes a second
)

var errTooLarge = errors.New("it is larger than this route allows")

// room bounds what request bodies take up in memory, and lets each identity have
// one large body at a time, so that none keeps the others out.
type room struct {
	large *semaphore.Weighted

	passed atomic.Int64 // bytes of large bodies since the last collection for them

	mu    sync.Mutex
	turns map[string]*turn
}

type turn struct {
	taken chan struct{} // has a token while somebody has the turn
	users int           // who has it, or waits for it
}

func newRoom() *room {
	return &room{large: semaphore.NewWeighted(roomForBodies), turns: map[string]*turn{}}
}

// read returns the whole body of a request. One of more than most bytes is
// refused without being read whole. The body is the exchange's until its end.
func (x *exchange) read(most int64) ([]byte, error) {
	if x.r.ContentLength > most {
		x.w.Header().Set("Connection", "close")
		return nil, errTooLarge
	}
	if n := x.r.ContentLength; 0 <= n && n <= smallBody {
		b := make([]byte, n)
		_, err := io.ReadFull(x.r.Body, b)
		return b, err
	}
	limited := http.MaxBytesReader(x.w, x.r.Body, most)
	// One byte more tells a body that ends there from one that goes on.
	head, err := io.ReadAll(io.LimitReader(limited, smallBody+1))
	if err != nil {
		return nil, tooLarge(err)
	}
	if len(head) <= smallBody {
		return head, nil
	}
	need := most
	if x.r.ContentLength > 0 {
		need = x.r.ContentLength
	}
	if err := x.takeRoom(need); err != nil {
		return nil, err
	}
	control := http.NewResponseController(x.w)
	if err := deadline(control, time.Now().Add(bodyGrace+time.Duration(need/bodyPace)*time.Second)); err != nil {
		return nil, err
	}
	b := make([]byte, len(head), need)
	copy(b, head)
	clear(head)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)] // only to see the end of a body of that very length
		}
		n, err := limited.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			// The server goes on listening for a caller that goes away.
			return b, deadline(control, time.Time{})
		}
		if err != nil {
			clear(b)
			return nil, tooLarge(err)
		}
	}
}

// takeRoom waits for room for a body of need bytes, which is given back at the
// exchange's end.
func (x *exchange) takeRoom(need int64) error {
	ctx := x.r.Context()
	done, err := x.room.turn(ctx, x.caller.ID)
	if err != nil {
		return err
	}
	x.atEnd = append(x.atEnd, done)
	weight := min(copies*need, roomForBodies)
	if err := x.room.large.Acquire(ctx, weight); err != nil {
		return err
	}
	x.atEnd = append(x.atEnd, func() {
		x.room.collect(need)
		x.room.large.Release(weight)
	})
	return nil
}

// collect has the garbage collector run before the room of large bodies is used
// again and again: it would otherwise let as much pile up as the store takes.
func (m *room) collect(passed int64) {
	if m.passed.Add(passed) >= roomForBodies/copies {
		m.passed.Store(0)
		runtime.GC()
	}
}

// turn waits until id has no other large body here.
func (m *room) turn(ctx context.Context, id string) (done func(), err error) {
	m.mu.Lock()
	t := m.turns[id]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		m.turns[id] = t
	}
	t.users++
	m.mu.Unlock()
	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(m.turns, id)
		}
	}
	select {
	case t.taken <- struct{}{}:
		return func() {
			<-t.taken
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// deadline limits reading, where there is a connection to limit.
func deadline(control *http.ResponseController, at time.Time) error {
	if err := control.SetReadDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func tooLarge(err error) error {
	var limit *http.MaxBytesError
	if errors.As(err, &limit) {
		return errTooLarge
	}
	return err
}
