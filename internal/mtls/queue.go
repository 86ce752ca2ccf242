package mtls

// queue is connections in the order in which they came to it. What links them is in
// their places: unlike with container/list, to come and go allocates nothing.
type queue struct {
	first, last *link
	len         int
}

// link is a place's part in one queue, or in none.
type link struct {
	place      *place
	in         *queue
	prev, next *link
}

// push puts a place at the end, and takes it out of where l has it.
func (q *queue) push(l *link, p *place) {
	l.leave()
	*l = link{place: p, in: q, prev: q.last}
	if q.last == nil {
		q.first = l
	} else {
		q.last.next = l
	}
	q.last = l
	q.len++
}

// leave takes a place out of its queue, if it is in one.
func (l *link) leave() {
	if l.in == nil {
		return
	}
	if l.prev == nil {
		l.in.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		l.in.last = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.in.len--
	*l = link{}
}

// front returns the oldest, or nil.
func (q *queue) front() *conn {
	if q.first == nil {
		return nil
	}
	return q.first.place.conn
}
