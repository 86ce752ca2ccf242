package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

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
