// Package audit writes down who did what: one line of JSON for each request that
// was decided, before its answer leaves. The lines go to a file of their own,
// apart from what the program says about itself.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// maxText bounds what a request may put into a line: a refused path can be as
// long as a request body.
const maxText = 512

// line is the format of the log. It never has a value of a secret.
type line struct {
	Time      string `json:"time"` // RFC 3339 with nanoseconds, UTC
	Request   string `json:"request"`
	Caller    string `json:"caller"`
	Operation string `json:"operation"`
	Path      string `json:"path,omitempty"`
	Version   int    `json:"version,omitempty"`
	Decision  string `json:"decision"` // allowed, denied
	By        string `json:"by,omitempty"`
	Result    string `json:"result"` // ok, or the code that the client gets
}

// Log writes entries to a writer, a whole line at a time.
type Log struct {
	mu sync.Mutex
	w  io.Writer
}

// New returns a log that writes to w.
func New(w io.Writer) *Log { return &Log{w: w} }

// Write is a [vault.Auditor].
func (l *Log) Write(_ context.Context, e vault.Entry) error {
	out := line{
		Time: e.Time.UTC().Format(time.RFC3339Nano), Request: e.Request, Caller: e.Caller,
		Operation: string(e.Operation), Path: e.Path[:min(len(e.Path), maxText)], Version: e.Version,
		Decision: "denied", By: e.By, Result: "ok",
	}
	if e.Allowed {
		out.Decision = "allowed"
	}
	if e.Result != "" {
		out.Result = string(e.Result)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode audit line: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write audit line: %w", err)
	}
	return nil
}
