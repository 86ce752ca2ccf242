// Package audit writes down who did what: one line of JSON for each request that
// was decided, before its answer leaves. The lines go to a file of their own,
// apart from what the program says about itself.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// maxText bounds what a request may put into a line: a refused path can be as
// long as a request body.
const maxText = 512

// Log writes entries to a writer, whole lines at a time.
type Log struct {
	gathering sync.Mutex
	next      *batch // takes lines, and is written next; nil when there is none
	spare     *batch // to be used again, or nil
	clock     clock
	joins     uint // how many lines there have been
	alone     uint // how many batches in a row had one line

	// writing is held over a call to w. Who needs both takes it first.
	writing sync.Mutex
	w       io.Writer
	torn    bool // the last line was written in part
}

// batch is lines that are written together, for callers who all wait for it.
type batch struct {
	lines   []byte
	users   int // who has a line in it; once it is taken, writing guards it
	taken   bool
	written int   // how many bytes of lines were
	err     error // why it was not all of them
}

// mostSpare is how large a batch may be and still be kept for the next one.
const mostSpare = 64 << 10

// New returns a log that writes to w.
func New(w io.Writer) *Log { return &Log{w: w} }

// Write is a [vault.Auditor]. Its line is written when it returns: by its own call to
// the writer, or by that of somebody who came at the same time.
func (l *Log) Write(_ context.Context, e vault.Entry) error {
	b, end, wait := l.join(&e)
	if wait {
		// Those who would run now get to here first. Nobody is waited for who would not.
		runtime.Gosched()
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if !b.taken {
		l.take(b)
		l.writeLocked(b)
	}
	written, err := b.written, b.err
	if b.users--; b.users == 0 {
		l.leave(b)
	}
	if written < end {
		return fmt.Errorf("write audit line: %w", err)
	}
	return nil
}

// join adds a line to the next batch, of which it is the part up to end, and says
// whether others are likely to come if they are let. Where nobody has come for a
// while, it is tried now and then: with one caller alone, it costs and gains nothing.
func (l *Log) join(e *vault.Entry) (b *batch, end int, wait bool) {
	l.gathering.Lock()
	defer l.gathering.Unlock()
	if l.next == nil {
		l.next, l.spare = l.spare, nil
	}
	if l.next == nil {
		l.next = &batch{lines: make([]byte, 0, 1024)}
	}
	b = l.next
	b.lines = appendLine(b.lines, e, &l.clock)
	b.users++
	l.joins++
	return b, len(b.lines), b.users > 1 || l.alone < 4 || l.joins%16 == 0
}

// take ends the gathering of b.
func (l *Log) take(b *batch) {
	l.gathering.Lock()
	defer l.gathering.Unlock()
	l.next, b.taken = nil, true
	if l.alone++; b.users > 1 {
		l.alone = 0
	}
}

// leave keeps b, which nobody uses any more, for others.
func (l *Log) leave(b *batch) {
	if cap(b.lines) > mostSpare {
		return
	}
	*b = batch{lines: b.lines[:0]}
	l.gathering.Lock()
	defer l.gathering.Unlock()
	l.spare = b
}

// writeLocked writes the lines of a batch, in one call.
func (l *Log) writeLocked(b *batch) {
	lines := b.lines
	if l.torn {
		// What is left of a line must not take the next one with it.
		lines = append([]byte("\n"), lines...)
	}
	n, err := l.w.Write(lines)
	if n > 0 {
		l.torn = lines[n-1] != '\n'
	}
	b.written, b.err = n-(len(lines)-len(b.lines)), err
}

// appendLine appends the line of one entry. Every request waits for it, so it is
// written without reflection; a test compares it with what encoding/json makes
// of the same fields. It never has a value of a secret.
func appendLine(b []byte, e *vault.Entry, c *clock) []byte {
	b = append(b, `{"time":"`...)
	b = c.append(b, e.Time)
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
