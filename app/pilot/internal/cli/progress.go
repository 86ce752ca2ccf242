package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/terminal"
)

// When progress is told: nothing of what is over soon, and a line that changes on
// a terminal, but lines of a log elsewhere.
const (
	progressAfter    = 2 * time.Second
	progressTerminal = 200 * time.Millisecond
	progressLog      = 15 * time.Second
)

// progress tells on standard error how far something long has come.
type progress struct {
	app      *app
	verb     string
	terminal bool
	next     time.Time
	shown    bool
}

func (a *app) progress(verb string) *progress {
	return &progress{app: a, verb: verb, terminal: terminal.Is(a.Err), next: time.Now().Add(progressAfter)}
}

func (p *progress) at(bytes int64) {
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.shown = true
	if p.terminal {
		p.next = now.Add(progressTerminal)
		_, _ = fmt.Fprintf(p.app.Err, "\r%s %s … ", amount(bytes), p.verb) // a remark, lost without harm
		return
	}
	p.next = now.Add(progressLog)
	p.app.tell("%s %s …", amount(bytes), p.verb)
}

func (p *progress) end() {
	if p.shown && p.terminal {
		p.app.tell("")
	}
}

func amount(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

// meter counts what passes, in either direction, and remembers what the writer
// said. A read ends with ctx.
type meter struct {
	from io.Reader
	to   io.Writer
	show *progress
	ctx  context.Context
	n    int64
	err  error
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.from.Read(p)
	m.n += int64(n)
	m.show.at(m.n)
	return n, err
}

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	n, err := m.to.Write(p)
	m.err = err
	m.n += int64(n)
	m.show.at(m.n)
	return n, err
}
