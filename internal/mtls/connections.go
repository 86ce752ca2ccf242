package mtls

import (
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
	count    int
	fresh    queue // those without an account yet
	idle     queue // those that wait for a request
	accounts map[string]*account
}

// place is where a connection stands. Every request moves it, which must cost little.
type place struct {
	conn    *conn
	account *account // nil until the first request
	turn    link     // in connections.fresh or connections.idle
	own     link     // in account.idle
}

type account struct {
	name  string
	count int
	idle  queue
}

func newConnections(config ServerConfig) *connections {
	return &connections{
		most: config.MaxConnections, share: max(config.MaxConnections/4, 1), account: config.Account, log: config.Log,
		accounts: map[string]*account{},
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
		if c.count >= c.most {
			if victim = c.oldestLocked(); victim == nil {
				return conn
			}
			c.removeLocked(victim.place)
		}
		p := &place{conn: conn}
		conn.place = p
		c.count++
		c.fresh.push(&p.turn, p)
		return victim
	}
	p := conn.place
	if p == nil {
		return nil // closed for another, and about to find out
	}
	switch state {
	case http.StateIdle:
		if p.account != nil {
			c.idle.push(&p.turn, p)
			p.account.idle.push(&p.own, p)
		}
	case http.StateActive:
		if p.account == nil {
			return c.enterLocked(p)
		}
		p.unlist()
	case http.StateClosed, http.StateHijacked:
		c.removeLocked(p)
	}
	return nil
}

// enterLocked counts a connection, whose handshake is over, in its peer's account. The
// victim is that connection itself when the account has its share already and nothing
// idle to give up.
func (c *connections) enterLocked(p *place) (victim *conn) {
	peer := p.conn.peer.Load()
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
		if victim = a.idle.front(); victim == nil {
			p.conn.unwanted.Store(true)
			c.removeLocked(p)
			c.log.Info("a connection was closed: its peer has its share of them, and none is idle", "peer", peer.id.String())
			return p.conn
		}
		c.removeLocked(victim.place) // and a with it, if that was its last one
		c.accounts[name] = a
	}
	a.count++
	p.account = a
	p.unlist()
	return victim
}

// removeLocked takes a connection out of the books.
func (c *connections) removeLocked(p *place) {
	p.unlist()
	p.conn.place = nil
	c.count--
	if p.account == nil {
		return
	}
	if p.account.count--; p.account.count == 0 {
		delete(c.accounts, p.account.name)
	}
}

// oldestLocked returns the connection that should make room for a new one.
func (c *connections) oldestLocked() *conn {
	if victim := c.idle.front(); victim != nil && c.fresh.len <= c.most/2 {
		return victim
	}
	return c.fresh.front()
}

// unlist takes a connection out of the queues that it is in.
func (p *place) unlist() {
	p.turn.leave()
	p.own.leave()
}
