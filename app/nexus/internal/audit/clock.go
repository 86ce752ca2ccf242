package audit

import (
	"bytes"
	"time"
)

// clock writes times as [time.RFC3339Nano] does, in UTC. Up to the second it is the
// same for many lines, and is worked out once.
type clock struct {
	unix  int64
	until []byte // the text of unix, or nil
}

func (c *clock) append(b []byte, t time.Time) []byte {
	if unix := t.Unix(); c.until == nil || unix != c.unix {
		c.unix, c.until = unix, t.UTC().AppendFormat(c.until[:0], "2006-01-02T15:04:05")
	}
	b = append(b, c.until...)
	if n := t.Nanosecond(); n > 0 {
		fraction := [...]byte{0: '.', 9: 0}
		for i := len(fraction) - 1; i > 0; i-- {
			fraction[i] = '0' + byte(n%10)
			n /= 10
		}
		b = append(b, bytes.TrimRight(fraction[:], "0")...)
	}
	return append(b, 'Z')
}
