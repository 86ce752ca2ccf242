// Package audit writes down who did what: one line of JSON for each request that
// was decided, before its answer leaves. The lines go to a file of their own,
// apart from what the program says about itself.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// maxText bounds what a request may put into a line: a refused path can be as
// long as a request body.
const maxText = 512

// Log writes entries to a writer, a whole line at a time.
type Log struct {
	lines sync.Pool // of *[]byte, to write lines into

	mu   sync.Mutex
	w    io.Writer
	torn bool // the last line was written in part
}

// New returns a log that writes to w.
func New(w io.Writer) *Log {
	l := &Log{w: w}
	l.lines.New = func() any {
		b := make([]byte, 0, 512)
		return &b
	}
	return l
}

// Write is a [vault.Auditor].
func (l *Log) Write(_ context.Context, e vault.Entry) error {
	line, ok := l.lines.Get().(*[]byte)
	if !ok {
		panic("audit: the pool has lines only")
	}
	defer l.lines.Put(line)
	*line = appendLine((*line)[:0], &e)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := *line
	if l.torn {
		// What is left of a line must not take the next one with it.
		b = append([]byte("\n"), b...)
	}
	n, err := l.w.Write(b)
	if err != nil {
		l.torn = l.torn && n == 0 || n > 0
		return fmt.Errorf("write audit line: %w", err)
	}
	l.torn = false
	return nil
}

// appendLine appends the line of one entry. Every request waits for it, so it is
// written without reflection; a test compares it with what encoding/json makes
// of the same fields. It never has a value of a secret.
func appendLine(b []byte, e *vault.Entry) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","request":`...)
	b = appendText(b, e.Request)
	b = append(b, `,"caller":`...)
	b = appendText(b, e.Caller)
	b = append(b, `,"operation":`...)
	b = appendText(b, string(e.Operation))
	if e.Path != "" {
		b = append(b, `,"path":`...)
		b = appendText(b, e.Path)
	}
	if e.Version != 0 {
		b = append(b, `,"version":`...)
		b = strconv.AppendInt(b, int64(e.Version), 10)
	}
	for i, version := range e.Versions {
		if i == 0 {
			b = append(b, `,"versions":[`...)
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(version), 10)
	}
	if len(e.Versions) > 0 {
		b = append(b, ']')
	}
	decision, result := "denied", "ok"
	if e.Allowed {
		decision = "allowed"
	}
	if e.Result != "" {
		result = string(e.Result)
	}
	b = append(append(b, `,"decision":"`...), decision...)
	if e.By != "" {
		b = append(b, `","by":`...)
		b = appendText(b, e.By)
		b = append(b, `,"result":`...)
	} else {
		b = append(b, `","result":`...)
	}
	b = appendText(b, result)
	return append(b, "}\n"...)
}

// appendText appends a JSON string. What is not plain ASCII is left to
// encoding/json.
func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), maxText)]
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(text)
			if err != nil {
				panic(err) // a string can always be encoded
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
