package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/client"
)

// TestNoAnswer has the reasons why no answer comes, in words for people.
func TestNoAnswer(t *testing.T) {
	s := &session{config: Config{NexusURL: &url.URL{Scheme: "https", Host: "nexus:8553"}}}
	for cause, want := range map[error]string{
		context.DeadlineExceeded: "Nexus at https://nexus:8553 does not answer in time.",
		syscall.ECONNREFUSED:     "Nexus at https://nexus:8553 does not answer: connection refused.",
	} {
		err := s.explain(t.Context(), "Nothing was read.", fmt.Errorf("%w: %w", client.ErrUnreachable, cause))
		var f *Failure
		if !errors.As(err, &f) || f.Code != Unreachable || f.Why != want {
			t.Errorf("%v: %#v", cause, err)
		}
	}
}

// TestUnsendable checks that what was too large is told with its size, and that
// nothing was sent by the exit code.
func TestUnsendable(t *testing.T) {
	s := &session{config: Config{NexusURL: &url.URL{}}}
	err := s.explain(t.Context(), "Nothing was written.", &client.Error{Err: fmt.Errorf("%w: it has 9 bytes; Nexus takes 8", client.ErrUnsendable)})
	var f *Failure
	if !errors.As(err, &f) || f.Code != Usage || f.Why != "The request cannot be sent: it has 9 bytes; Nexus takes 8." {
		t.Errorf("%#v", err)
	}
}
