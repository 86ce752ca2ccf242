package mtls

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// connections keeps their number under a cap. Clients that open a transport for
// every call leave thousands of idle connections behind, so at the cap the
// oldest idle one goes first, and then the oldest that has not yet shown who it
// is. A connection that is being served is never closed for another.
type connections struct {
	most int

	mu    sync.Mutex
	all   map[net.Conn]*list.Element // nil while being served
	idle  *list.List                 // of net.Conn, oldest first
	fresh *list.List
}

func newConnections(most int) *connections {
	return &connections{most: most, all: map[net.Conn]*list.Element{}, idle: list.New(), fresh: list.New()}
}

// note is an http.Server's ConnState.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	if victim := c.move(conn, state); victim != nil {
		// It is going away because there are too many; how it goes does not matter.
		_ = victim.Close()
	}
}

func (c *connections) move(conn net.Conn, state http.ConnState) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlistLocked(conn)
	switch state {
	case http.StateNew:
		if len(c.all) >= c.most {
			victim = c.oldestLocked()
			if victim == nil {
				return conn
			}
		}
		c.all[conn] = c.fresh.PushBack(conn)
	case http.StateIdle:
		c.all[conn] = c.idle.PushBack(conn)
	case http.StateActive:
		c.all[conn] = nil
	case http.StateClosed, http.StateHijacked:
		delete(c.all, conn)
	}
	return victim
}

func (c *connections) unlistLocked(conn net.Conn) {
	if e := c.all[conn]; e != nil {
		c.idle.Remove(e)
		c.fresh.Remove(e)
	}
}

// oldestLocked takes the connection that should go out of the books.
func (c *connections) oldestLocked() net.Conn {
	for _, l := range []*list.List{c.idle, c.fresh} {
		if e := l.Front(); e != nil {
			conn, ok := l.Remove(e).(net.Conn)
			if !ok {
				panic("mtls: the list holds connections only")
			}
			delete(c.all, conn)
			return conn
		}
	}
	return nil
}
