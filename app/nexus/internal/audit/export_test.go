package audit

import "time"

// Gathered is how many callers have a line in the batch that comes next.
func (l *Log) Gathered() int {
	l.gathering.Lock()
	defer l.gathering.Unlock()
	if l.next == nil {
		return 0
	}
	return l.next.users
}

// Times writes times one after the other, each on a line.
func Times(list ...time.Time) string {
	var (
		c clock
		b []byte
	)
	for _, t := range list {
		b = append(c.append(b, t), '\n')
	}
	return string(b)
}
