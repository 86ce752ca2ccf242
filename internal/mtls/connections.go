package mtls

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// connections keeps their number under a cap. Clients that open a transport for
// every call leave thousands of idle connections behind, so at the cap the
// oldest idle one goes first, and then the oldest that has not yet asked anything.
// A connection that is being served is never closed for another.
//
// Nobody fills the server for the others: an account, by default one identity,
// has at most a quarter of the cap, and what has asked nothing yet makes room for
// its like once it is more than half. A connection is counted as its peer's from
// its first request on, and not before: a certificate is known to everybody, and
// that its key is there is the last thing that a handshake shows.
type connections struct {
	most, share int
	account     func(spiffeid.ID) string
	log         *slog.Logger

	mu       sync.Mutex
	all      map[*conn]*place
	fresh    list.List // of *conn without an account yet, oldest first
	idle     list.List // of *conn that wait for a request, oldest first
	accounts map[string]*account
}

// place is where a connection stands.
type place struct {
	account *account      // nil until the first request
	fresh   *list.Element // in connections.fresh
	idle    *list.Element // in connections.idle
	own     *list.Element // in account.idle
}

type account struct {
	name  string
	count int
	idle  list.List
}

func newConnections(config ServerConfig) *connections {
	return &connections{
		most: config.MaxConnections, share: max(config.MaxConnections/4, 1), account: config.Account, log: config.Log,
		all: map[*conn]*place{}, accounts: map[string]*account{},
	}
}

// note is an http.Server's ConnState. The accept loop calls it too, so what it
// closes is the bare connection: a TLS one would first take its time to say
// goodbye.
func (c *connections) note(tlsConn net.Conn, state http.ConnState) {
	conn := bare(tlsConn)
	if conn == nil {
		return
	}
	if victim := c.move(conn, state); victim != nil {
		// It is going away because there are too many; how it goes does not matter.
		_ = victim.Close()
	}
}

func (c *connections) move(conn *conn, state http.ConnState) (victim *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew {
		if len(c.all) >= c.most {
			if victim = c.oldestLocked(); victim == nil {
				return conn
			}
			c.removeLocked(victim)
		}
		c.all[conn] = &place{fresh: c.fresh.PushBack(conn)}
		return victim
	}
	p := c.all[conn]
	if p == nil {
		return nil // closed for another, and about to find out
	}
	switch state {
	case http.StateIdle:
		if p.account != nil {
			c.waitLocked(conn, p)
		}
	case http.StateActive:
		if p.account == nil {
			return c.enterLocked(conn, p)
		}
		c.unlistLocked(p)
	case http.StateClosed, http.StateHijacked:
		c.removeLocked(conn)
	}
	return nil
}

// enterLocked counts conn, whose handshake is over, in its peer's account. The
// victim is conn itself when the account has its share already and nothing idle to
// give up.
func (c *connections) enterLocked(conn *conn, p *place) (victim *conn) {
	peer := conn.peer.Load()
	if peer == nil {
		return nil
	}
	name := c.account(peer.id)
	a := c.accounts[name]
	if a == nil {
		a = &account{name: name}
		c.accounts[name] = a
	}
	if a.count >= c.share {
		if victim = front(&a.idle); victim == nil {
			conn.unwanted.Store(true)
			c.removeLocked(conn)
			c.log.Info("a connection was closed: its peer has its share of them, and none is idle", "peer", peer.id.String())
			return conn
		}
		c.removeLocked(victim) // and a with it, if that was its last one
		c.accounts[name] = a
	}
	a.count++
	p.account = a
	c.unlistLocked(p)
	return victim
}

// waitLocked lists a connection that waits for its next request.
func (c *connections) waitLocked(conn *conn, p *place) {
	c.unlistLocked(p)
	p.idle, p.own = c.idle.PushBack(conn), p.account.idle.PushBack(conn)
}

func (c *connections) unlistLocked(p *place) {
	if p.fresh != nil {
		c.fresh.Remove(p.fresh)
	}
	if p.idle != nil {
		c.idle.Remove(p.idle)
	}
	if p.own != nil {
		p.account.idle.Remove(p.own)
	}
	p.fresh, p.idle, p.own = nil, nil, nil
}

// removeLocked takes a connection out of the books.
func (c *connections) removeLocked(conn *conn) {
	p := c.all[conn]
	c.unlistLocked(p)
	delete(c.all, conn)
	if p.account == nil {
		return
	}
	if p.account.count--; p.account.count == 0 {
		delete(c.accounts, p.account.name)
	}
}

// oldestLocked returns the connection that should make room for a new one.
func (c *connections) oldestLocked() *conn {
	if victim := front(&c.idle); victim != nil && c.fresh.Len() <= c.most/2 {
		return victim
	}
	return front(&c.fresh)
}

func front(l *list.List) *conn {
	e := l.Front()
	if e == nil {
		return nil
	}
	victim, ok := e.Value.(*conn)
	if !ok {
		panic("mtls: the list holds connections only")
	}
	return victim
}
