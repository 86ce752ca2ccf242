package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/role"
)

// explain turns the error of a call into what a person needs. What says what
// did not work: "The secret was not written." It is the one place where errors of
// the wire become sentences; commands add only what they alone can meet. The order
// is that in which a call meets its obstacles, and the exit code follows from it.
func (s *session) explain(ctx context.Context, what string, err error) error {
	f := &Failure{Code: Failed, What: what, Err: err}
	nexus := "Nexus at " + s.config.NexusURL.String()
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted(err)
	// What failed on the way comes first: those errors may wrap causes that are
	// also in the list below.
	case errors.Is(err, client.ErrUntrusted):
		f.Code = Unreachable
		f.Why = untrusted(s, err)
		f.Next = []string{"Check SPIKE_NEXUS_API_URL, SPIKE_TRUST_ROOT and SPIKE_TRUST_ROOT_NEXUS. Nothing was sent to that server."}
	// Nexus ended the handshake, so it said nothing more; these are the reasons it has.
	case errors.Is(err, client.ErrRefused):
		f.Code = Denied
		f.Why = fmt.Sprintf("%s does not accept the identity %s: it has expired, or its trust domain is not trusted there.", nexus, s.id)
		f.Next = []string{"Check the clocks, and that Nexus's SPIKE_TRUST_ROOT names the domain " + s.id.TrustDomain().Name() + "."}
	case errors.Is(err, client.ErrUnreachable):
		f.Code = Unreachable
		f.Why = fmt.Sprintf("%s does not answer: %v.", nexus, root(err))
		if errors.Is(err, context.DeadlineExceeded) {
			f.Why = nexus + " does not answer in time."
		}
		f.Next = []string{"Start Nexus, or correct SPIKE_NEXUS_API_URL."}
	// Found before it was sent, which is what the exit code promises.
	case errors.Is(err, client.ErrUnsendable):
		var e *client.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		f.Code = Usage
		f.Why = "The request " + err.Error() + "."
	case errors.Is(err, client.ErrProtocol):
		f.Why = nexus + " gave an answer that this program does not understand: " + root(err).Error() + "."
		f.Next = []string{"Compare the versions of spike and nexus: spike --version, nexus --version."}
	case errors.Is(err, api.ErrNotReady):
		s.notReady(ctx, f)
	case errors.Is(err, api.ErrUninitialized):
		f.Code = NotReady
		f.Why = "This Nexus has no cluster: its store is empty."
		f.Next = []string{
			"Is the right data folder mounted? (SPIKE_NEXUS_DATA_DIR)",
			"If its data is lost, an administrator runs: spike operator backup load FILE",
			"Only to make a new cluster, an administrator runs: spike operator init",
		}
	// Nexus gives the same answer whether or not the path exists, so no more is known.
	// The identity is named: often it is another one than people think.
	case errors.Is(err, api.ErrUnauthorized):
		f.Code = Denied
		f.Why = fmt.Sprintf("Nexus does not allow %s to do this.", s.id)
		f.Next = []string{"Use an identity with the role that is needed, or ask an administrator."}
		if s.asked != "" && s.role == role.Workload {
			f.Next = []string{"It needs a policy. What is missing, an administrator sees with:\nspike policy test --as " + render.ShellWord(s.id.String()) + " " + s.asked}
		}
	// These two are for commands to say better.
	case errors.Is(err, api.ErrNotFound):
		f.Code = NotFound
		f.Why = "Nexus has no such thing."
	case errors.Is(err, api.ErrVersionConflict):
		f.Code = Conflict
		f.Why = "Someone else changed it first."
	case errors.Is(err, api.ErrNoRootKeyBackend):
		f.Why = "This Nexus keeps everything in memory under a throw-away key (SPIKE_NEXUS_BACKEND_STORE=memory)."
		f.Next = []string{"It needs neither init nor recovery shards: it is open as it is."}
	// The same rules were kept here before it was sent, so they must differ.
	case errors.Is(err, api.ErrBadRequest):
		f.Why = "Nexus did not accept the request as valid."
		f.Next = []string{"Compare the versions of spike and nexus: spike --version, nexus --version."}
	case errors.Is(err, api.ErrInternal):
		f.Why = "Nexus had a fault of its own."
		f.Next = []string{"Ask for its state: spike operator status", "Its log says what happened."}
	default:
		f.Why = err.Error() + "."
	}
	return f
}

// explainWrite is explain for what changes something: where no answer came, or
// one that does not tell, it may have been done.
func (s *session) explainWrite(ctx context.Context, what string, err error) error {
	explained := s.explain(ctx, what, err)
	// An internal error counts as no answer: a failed flush may be on disk all the
	// same, and Nexus itself learns that only when it starts again.
	var f *Failure
	if !errors.As(explained, &f) || !errors.Is(err, client.ErrUnanswered) && !errors.Is(err, api.ErrInternal) {
		return explained
	}
	if f.What == what {
		f.What = strings.TrimSuffix(what, ".") + ", as far as is known."
	}
	f.Why = joined(f.Why, "The request had been sent: whether it was carried out is not known.")
	f.Next = append(f.Next, "Look at what is there before you repeat it.")
	return f
}

// root is the innermost cause: the last of each chain. "connection refused" says
// more to a person than the five layers that pass it on.
func root(err error) error {
	for {
		switch wrapped := err.(type) { //nolint:errorlint // walks the chain itself
		case interface{ Unwrap() error }:
			if inner := wrapped.Unwrap(); inner != nil {
				err = inner
				continue
			}
		case interface{ Unwrap() []error }:
			if inner := wrapped.Unwrap(); len(inner) > 0 {
				err = inner[len(inner)-1]
				continue
			}
		}
		return err
	}
}

// untrusted says what the server is instead. A wrong address and a wrong trust
// domain look alike from here, but for the identity that it showed.
func untrusted(s *session, err error) string {
	server := "What answers at " + s.config.NexusURL.String()
	if errors.Is(err, mtls.ErrWrongPeer) {
		return server + " has an identity, but not that of a Nexus: " + reason(err) + "."
	}
	return server + " cannot prove to be Nexus: " + reason(err) + "."
}

// reason is what err says after the sentinel of package client.
func reason(err error) string {
	var e *client.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { // takes one level apart
		inner := many.Unwrap()
		return inner[len(inner)-1].Error()
	}
	return err.Error()
}

// interrupted is for a command that was told to stop, by a signal or a key. It
// gives no reason and no advice: the one who did it knows.
func interrupted(err error) error {
	return &Failure{Code: Failed, What: "Interrupted.", Err: err}
}

// patience is how long an explanation waits for what would make it better.
const patience = 5 * time.Second

// notReady says why Nexus is not open. Only an administrator may ask it.
func (s *session) notReady(ctx context.Context, f *Failure) {
	f.Code = NotReady
	f.Why = "Nexus has no root key yet: it is not initialized, or locked and looking for its Keepers."
	f.Next = []string{"An administrator sees why: spike operator status"}
	if s.role != role.Superuser {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, err := s.status(ctx)
	if err != nil {
		// It was asked to explain another failure, and that one is told.
		return
	}
	f.Why, f.Next = situation(&status)
}

// situation says in sentences why Nexus is not open, and what to do about it. Both
// a call that failed and status end here, so that they never give different advice.
func situation(status *api.OperatorStatusResponse) (why string, next []string) {
	why = render.Sentence(status.Reason)
	switch status.State {
	case api.StateUninitialized:
		return cmp.Or(why, "Nexus has no cluster yet."), []string{
			// A cluster that was here is likelier than a new one, and init in its place
			// gives people two.
			"If there should be one: is the right data folder mounted? (SPIKE_NEXUS_DATA_DIR)",
			"If its data is lost: spike operator backup load FILE",
			"Only to make a new cluster: spike operator init",
		}
	case api.StateLocked:
		if status.Mismatch {
			return joined("Nexus is locked, and neither Keepers nor recovery shards open it.", why), []string{otherStore}
		}
		return joined("Nexus is locked.", why, keeperSummary(status)), unlock(status)
	case api.StateOpen:
		return "Nexus has become ready meanwhile.", []string{"Try again."}
	case api.StateBehind:
		next = []string{"Put the newest copy of the data folder in its place, or load the newest backup."}
		if b := status.Behind; b != nil {
			next = append(next, fmt.Sprintf("Only if there is none, give up what came after: spike operator accept --sequence %d", b.Sequence))
		}
		return cmp.Or(why, "Nexus's store is behind what a Keeper was told of it."), next
	case api.StateFailed:
		return joined("Nexus has stopped serving after a fault.", why), []string{
			"Look at its log, remove the cause, and restart it.",
		}
	}
	return joined(fmt.Sprintf("Nexus is in the state %q.", status.State), why), []string{"More: spike operator status"}
}

// otherStore is the way out where the header of a store was changed.
const otherStore = "Keep the Keepers running, and put a backup in the store's place: docs/runbook/everything-lost.md"

// keeperSummary counts the Keepers that answer. What they hold is in the reason
// that Nexus gives.
func keeperSummary(status *api.OperatorStatusResponse) string {
	if len(status.Keepers) == 0 {
		return ""
	}
	answer := 0
	for _, k := range status.Keepers {
		if k.Reachable {
			answer++
		}
	}
	return fmt.Sprintf("%d of %s answer.", answer, render.Count(len(status.Keepers), "Keeper"))
}

// unlock lists the ways out of a locked Nexus, the one that needs no people
// first.
func unlock(status *api.OperatorStatusResponse) (next []string) {
	var away []string
	for _, k := range status.Keepers {
		if !k.Reachable {
			away = append(away, k.URL)
		}
	}
	if len(away) > 0 {
		next = append(next, "Start the Keepers that do not answer: "+strings.Join(away, ", ")+
			"\nNexus opens by itself once enough of them have their share.")
	}
	needed := "enough"
	if status.Threshold > 0 {
		needed = fmt.Sprint(status.Threshold)
	}
	return append(next, fmt.Sprintf("If Keepers were restarted, they are empty. Feed in %s recovery shards: spike operator restore", needed))
}

// joined puts sentences on lines of their own, and leaves empty ones out.
func joined(sentences ...string) string {
	var out []string
	for _, s := range sentences {
		if s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "\n")
}
