package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) operator() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "operator COMMAND",
		Short: "Initialize, look after and bring back a cluster",
	})
	cmd.AddCommand(a.operatorInit(), a.operatorStatus(), a.operatorRecover(), a.operatorRestore())
	return cmd
}

func (a *app) operatorInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make a new cluster out of an empty store",
		Long: `Make a new cluster: Nexus makes a root key, gives each Keeper its share of it,
and opens. This is done once. It is refused where there is a cluster already,
where a Keeper holds a share, and while a Keeper cannot be reached.

It needs an identity with the role superuser.`,
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.initialize(cmd.Context())
		},
	}
}

func (a *app) initialize(ctx context.Context) error {
	s, err := a.connect(ctx, role.Superuser, false)
	if err != nil {
		return err
	}
	defer s.Close()
	made, err := s.OperatorInit(ctx)
	if err != nil {
		return s.explainInit(ctx, err)
	}
	err = a.print(func(w io.Writer) error {
		return render.Fields(w,
			[2]string{"Cluster", render.Clean(made.Cluster)},
			[2]string{"Key", render.Clean(made.KeyID)},
			[2]string{"Keepers", strconv.Itoa(made.Keepers)},
			[2]string{"Threshold", fmt.Sprintf("%d of %s, or %d of %s", made.Threshold,
				render.Count(made.Keepers, "Keeper"), made.Threshold, render.Count(made.Shards, "recovery shard"))},
		)
	})
	a.tell(`
The cluster is made and open. A restarted Nexus gets its root key back from the
Keepers by itself, as long as %d of them keep running.

Now export the recovery shards: when every Keeper has stopped, nothing else
brings the secrets back. With an identity of the role recover:
  spike operator recover`, made.Threshold)
	return err
}

// explainInit says why no cluster was made. Each refusal protects one that may
// exist, so none of them suggests a way around it without saying what is lost.
func (s *session) explainInit(ctx context.Context, err error) error {
	const nothing = "No cluster was made, and nothing was changed."
	f := &Failure{Code: Conflict, What: nothing, Err: err}
	switch {
	case errors.Is(err, api.ErrAlreadyInitialized):
		f.What = "There is a cluster already; nothing was changed."
		f.Why = "A cluster is initialized once. Another one would lose every secret of this one."
		f.Next = []string{"Its state: spike operator status"}
	case errors.Is(err, api.ErrKeeperHoldsShare):
		f.Why = "A Keeper holds a share already, so there is, or was, a cluster that these Keepers belong to." +
			s.keepersWhere(ctx, func(k *api.KeeperStatus) bool { return k.Holds != api.HoldsNothing && k.Holds != api.HoldsPending })
		f.Next = []string{
			"If that cluster is the one you want: give Nexus its data folder again (SPIKE_NEXUS_DATA_DIR).",
			"If it is gone for good: restart those Keepers, which makes them empty, and run this again.",
		}
	case errors.Is(err, api.ErrKeeperUnreachable):
		f.Code = NotReady
		f.Why = "Every Keeper must take its share, and Nexus cannot reach one." +
			s.keepersWhere(ctx, func(k *api.KeeperStatus) bool { return !k.Reachable })
		f.Next = []string{
			"Is each of them running, is its URL in Nexus's SPIKE_NEXUS_KEEPER_PEERS right, and has it its identity?",
			"Then run this again.",
		}
	case errors.Is(err, api.ErrUnauthorized), errors.Is(err, api.ErrNoRootKeyBackend):
		return s.explain(ctx, nothing, err)
	default:
		return s.explainWrite(ctx, "No cluster was made.", err)
	}
	return f
}

// keepersWhere lists, for an explanation, the Keepers for which is holds. When
// Nexus cannot be asked, the explanation goes without.
func (s *session) keepersWhere(ctx context.Context, is func(*api.KeeperStatus) bool) string {
	status, err := s.status(ctx)
	if err != nil {
		return ""
	}
	var out strings.Builder
	for _, k := range status.Keepers {
		if is(&k) {
			fmt.Fprintf(&out, "\nKeeper %d at %s: holds %s", k.Index, k.URL, k.Holds)
			if k.Detail != "" {
				fmt.Fprintf(&out, " (%s)", k.Detail)
			}
		}
	}
	return out.String()
}

// status returns the state of Nexus, fit to be shown.
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

func (a *app) operatorStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of Nexus and its Keepers",
		Long: `Show the state of Nexus and why it is in it, each Keeper and what it holds, and
how many more Keepers may be lost.

That Nexus is not open is an answer and not a failure, unless --check is given.
It needs an identity with the role superuser.`,
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
		err = a.print(func(w io.Writer) error {
			if *output == jsonFormat {
				return render.JSON(w, status)
			}
			return writeStatus(w, &status, a.color(s.config))
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
func writeStatus(w io.Writer, status *api.OperatorStatusResponse, color bool) error {
	secrets, started := "", ""
	if status.Secrets != nil {
		secrets = strconv.Itoa(*status.Secrets)
	}
	if !status.Started.IsZero() {
		started = status.Started.UTC().Format(time.RFC3339)
	}
	collected := ""
	if status.State == api.StateLocked && status.Collected > 0 {
		collected = fmt.Sprintf("%d of %d that are needed", status.Collected, status.Threshold)
	}
	err := render.Fields(w,
		[2]string{"State", state(status.State, color)},
		[2]string{"Why", sentence(status.Reason)},
		[2]string{"Shards fed in", collected},
		[2]string{"Cluster", status.Cluster},
		[2]string{"Key", status.KeyID},
		[2]string{"Threshold", threshold(status)},
		[2]string{"Secrets", secrets},
		[2]string{"Backend", status.Backend},
		[2]string{"Started", started},
		[2]string{"Version", status.Version},
	)
	if err != nil || len(status.Keepers) == 0 {
		return err
	}
	rows := make([][]string, len(status.Keepers))
	for i, k := range status.Keepers {
		reachable := "no"
		if k.Reachable {
			reachable = "yes"
		}
		rows[i] = []string{strconv.Itoa(k.Index), k.URL, reachable, k.Holds, k.Detail}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := render.Table(w, []string{"KEEPER", "URL", "REACHABLE", "HOLDS", "DETAIL"}, rows); err != nil {
		return err
	}
	if status.Spare != nil && status.State == api.StateOpen {
		_, err = fmt.Fprintf(w, "\n%s\n", spare(*status.Spare))
	}
	return err
}

// threshold says what is enough to bring the root key back.
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

// state names the state, in a colour on a terminal.
func state(name string, color bool) string {
	if !color {
		return name
	}
	const green, yellow, red = "32", "33", "31"
	hue := yellow
	switch name {
	case api.StateOpen:
		hue = green
	case api.StateFailed:
		hue = red
	}
	return "\x1b[" + hue + "m" + name + "\x1b[0m"
}
