package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/spiffe/spike/internal/api"
)

// Whoever holds an identity of a trusted domain can send bodies before it is
// known what it may do. Those up to smallBody are read at once. Larger ones share
// roomForBodies, from before they are read until they are answered, and count
// threefold: as they came, decoded, and encoded again.
const (
	smallBody     = 16 << 10
	roomForBodies = 48 << 20
	copies        = 3
	// One identity has at most as much of it as one of the largest bodies needs.
	roomForOne = copies * api.MaxBody
)

// A large body must come at some pace while it holds room.
const (
	bodyGrace = 2 * time.Second
	bodyPace  = 1 << 20 // bytes a second
)

var errTooLarge = errors.New("it is larger than this route allows")

// room bounds what request bodies take up in memory, and what those of one identity
// do, so that none keeps the others out.
type room struct {
	large *semaphore.Weighted

	mu     sync.Mutex
	shares map[string]*share
}

// share is one identity's part of the room.
type share struct {
	*semaphore.Weighted
	users int // who has some of it, or waits for it
}

func newRoom() *room {
	return &room{large: semaphore.NewWeighted(roomForBodies), shares: map[string]*share{}}
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
	// One byte more, to see the end of a body of that very length.
	b, err := x.pages(int(need) + 1)
	if err != nil {
		return nil, err
	}
	b = b[:copy(b, head)]
	clear(head)
	for {
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

// pages returns n bytes outside Go's heap until the exchange's end: they are given
// back then, not some time later, and do not make the heap's garbage seem little.
func (x *exchange) pages(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("memory for the body: %w", err)
	}
	x.atEnd = append(x.atEnd, func() {
		if err := unix.Munmap(b); err != nil {
			x.log.Error("memory of a body cannot be given back", "request", x.caller.Request, "error", err)
		}
	})
	return b, nil
}

// takeRoom waits for room for a body of need bytes, which is given back at the
// exchange's end.
func (x *exchange) takeRoom(need int64) error {
	ctx := x.r.Context()
	weight := min(copies*need, roomForOne)
	own, leave := x.room.share(x.caller.ID)
	x.atEnd = append(x.atEnd, leave)
	for _, part := range []*semaphore.Weighted{own, x.room.large} {
		if err := part.Acquire(ctx, weight); err != nil {
			return err
		}
		x.atEnd = append(x.atEnd, func() { part.Release(weight) })
	}
	return nil
}

// share returns what id has of the room, for which it must leave again.
func (m *room) share(id string) (own *semaphore.Weighted, leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shares[id]
	if s == nil {
		s = &share{Weighted: semaphore.NewWeighted(roomForOne)}
		m.shares[id] = s
	}
	s.users++
	return s.Weighted, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(m.shares, id)
		}
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
