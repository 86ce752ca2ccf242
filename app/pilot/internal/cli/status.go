package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// status returns the state of Nexus, fit to be shown. What comes from Keepers, such
// as why one does not answer, has passed through Nexus, and could steer a terminal.
func (s *session) status(ctx context.Context) (api.OperatorStatusResponse, error) {
	status, err := s.OperatorStatus(ctx)
	for _, text := range []*string{
		&status.State, &status.Reason, &status.Backend, &status.Cluster, &status.KeyID, &status.Version,
	} {
		*text = render.Clean(*text)
	}
	for i := range status.Keepers {
		k := &status.Keepers[i]
		k.URL, k.Holds, k.Detail = render.Clean(k.URL), render.Clean(k.Holds), render.Clean(k.Detail)
	}
	return status, err
}

// operatorStatus is what people run when something is wrong, so it must answer in
// every state, and a script can ask it for a condition with --check.
func (a *app) operatorStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of Nexus and its Keepers",
		Long: `Show the state of Nexus and why it is in it, each Keeper and what it holds, and
how many more Keepers may be lost.

That Nexus is not open is an answer and not a failure, unless --check is given.
It needs an identity with the role superuser.

With -o json or yaml the answer is an object, without what Nexus does not know:

  state       uninitialized, locked, behind, open or failed
  reason      a sentence for people
  backend     sqlite, memory or lite
  cluster     the cluster's id
  keyId       the root key's id
  threshold   how many shares, or recovery shards, make the root key
  shards      how many recovery shards there are
  keepers     a list of objects: index, url, reachable, holds, detail, checked
  unassigned  URLs of SPIKE_NEXUS_KEEPER_PEERS that no share belongs to
  spare       how many more Keepers may be lost; below zero it is too few
  secrets     how many secrets there are
  sequence    the number of the last commit
  behind      of a store that was put back: epoch and sequence of the store, and
              toldEpoch and toldSequence, which a Keeper was told
  mismatch    true when enough shares were found and do not open the store, whose
              header was changed
  collected   how many recovery shards were fed in while locked
  started     when Nexus was started
  version     which build it is`,
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := outputFlag(cmd)
	check := cmd.Flags().Bool("check", false, "exit with 5 unless Nexus is open")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		s, err := a.connect(ctx, role.Superuser, false)
		if err != nil {
			return err
		}
		defer s.Close()
		status, err := s.status(ctx)
		if err != nil {
			return s.explain(ctx, "The state is not known.", err)
		}
		err = a.answer(*output, status, func(w io.Writer) error {
			return writeStatus(w, a.style(s.config), &status)
		})
		if err == nil && *check && status.State != api.StateOpen {
			why, next := situation(&status)
			return &Failure{Code: NotReady, What: "Nexus is not open.", Why: why, Next: next}
		}
		return err
	}
	return cmd
}

// writeStatus writes the state for people. What Nexus does not know, because it
// is not open, is left out rather than shown as zero.
func writeStatus(w io.Writer, style render.Style, status *api.OperatorStatusResponse) error {
	// A zero that is true, such as no secrets yet, comes as a pointer to it; so what is
	// nil is not known.
	secrets, started := "", ""
	if status.Secrets != nil {
		secrets = strconv.Itoa(*status.Secrets)
	}
	if !status.Started.IsZero() {
		started = stamp(status.Started)
	}
	collected := ""
	if status.State == api.StateLocked && status.Collected > 0 {
		collected = fmt.Sprintf("%d of %d that are needed", status.Collected, status.Threshold)
	}
	err := render.Fields(w, style,
		render.Field{Name: "State", Value: status.State, Color: stateColor(status.State)},
		render.Field{Name: "Why", Value: render.Sentence(status.Reason)},
		render.Field{Name: "Shards fed in", Value: collected},
		render.Field{Name: "Cluster", Value: status.Cluster},
		render.Field{Name: "Key", Value: status.KeyID},
		render.Field{Name: "Threshold", Value: threshold(status)},
		render.Field{Name: "Secrets", Value: secrets},
		render.Field{Name: "Backend", Value: status.Backend},
		render.Field{Name: "Started", Value: started},
		render.Field{Name: "Version", Value: status.Version},
	)
	if err != nil || len(status.Keepers) == 0 {
		return err
	}
	// The last column has what a Keeper's failure said, which may be long: it is the
	// one that a narrow terminal breaks into lines.
	rows := make([][]render.Cell, len(status.Keepers))
	for i, k := range status.Keepers {
		rows[i] = render.Row(strconv.Itoa(k.Index), k.URL, "yes", k.Holds, k.Detail)
		rows[i][3].Color = holdsColor(k.Holds)
		if !k.Reachable {
			rows[i][2] = render.Cell{Text: "no", Color: render.Bad}
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := render.Table(w, style, []string{"KEEPER", "URL", "REACHABLE", "HOLDS", "DETAIL"}, rows); err != nil {
		return err
	}
	if status.Spare != nil && status.State == api.StateOpen {
		_, err = fmt.Fprintf(w, "\n%s\n", spare(*status.Spare))
	}
	return err
}

// threshold says what is enough to bring the root key back. A store in memory has
// no such thing.
func threshold(status *api.OperatorStatusResponse) string {
	if status.Threshold == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %s, or %d of %s", status.Threshold, render.Count(len(status.Keepers), "Keeper"),
		status.Threshold, render.Count(status.Shards, "recovery shard"))
}

// spare says what one more loss would mean, the thing that an operator looks for.
func spare(n int) string {
	switch {
	case n > 0:
		return render.Count(n, "more Keeper") + " may be lost, and a restarted Nexus still recovers by itself."
	case n == 0:
		return "No Keeper may be lost any more: a restarted Nexus needs all that are left."
	}
	return fmt.Sprintf("A restarted Nexus would stay locked: %s must come back and be filled, or people feed in recovery shards.",
		render.Count(-n, "Keeper"))
}

// stateColor says at a glance whether secrets are served.
func stateColor(state string) render.Color {
	switch state {
	case api.StateOpen:
		return render.Good
	case api.StateFailed:
		return render.Bad
	}
	return render.Doubt
}

// holdsColor sets off what takes a person to put right. A Keeper without its
// share is filled by Nexus.
func holdsColor(holds string) render.Color {
	switch holds {
	case api.HoldsShare:
		return render.Good
	case api.HoldsUnknown, api.HoldsNothing, api.HoldsPending:
		return render.Doubt
	}
	return render.Bad
}
