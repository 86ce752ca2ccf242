package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spiffe/spike/internal/client"
)

// Code is an exit code. Scripts rely on them; the help of the root command and
// the documentation list them.
type Code int

// The exit codes. 2 promises that nothing was sent. 4 and 6 divide what a script can cure by
// waiting (6) from what a person must change (4).
const (
	Done        Code = 0
	Failed      Code = 1
	Usage       Code = 2
	NotFound    Code = 3
	Denied      Code = 4
	NotReady    Code = 5
	Unreachable Code = 6
	Conflict    Code = 7
)

// Failure is an error as a person reads it.
type Failure struct {
	Code Code
	What string   // what happened: a sentence
	Why  string   // sentences; may be empty
	Next []string // what to do, a step each
	Err  error    // the cause; may be nil
}

// Error returns what happened.
func (f *Failure) Error() string { return f.What }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Report tells a person about err, if there is one, and returns the exit code.
func Report(w io.Writer, err error) int {
	if err == nil {
		return int(Done)
	}
	var f *Failure
	if !errors.As(err, &f) {
		// Something that no command foresaw; its own words are all there is.
		f = &Failure{Code: Failed, What: err.Error()}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Error: %s\n", f.What)
	paragraph(&out, "Why:", f.Why)
	label := "Next:"
	for _, step := range f.Next {
		paragraph(&out, label, step)
		label = ""
	}
	if id := client.RequestID(err); id != "" {
		paragraph(&out, "Request:", id+" (Nexus's log or audit log has it under this id)")
	}
	// If this cannot be written, the exit code still says it.
	_, _ = io.WriteString(w, out.String())
	return int(f.Code)
}

// paragraph writes text beside its label, and further lines below it in the
// same column.
func paragraph(out *strings.Builder, label, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(out, "  %-9s%s\n", label, line)
		label = ""
	}
}
