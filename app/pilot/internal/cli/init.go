package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// operatorInit has no flag that shapes the cluster: how many Keepers there are, and
// how many are needed, is Nexus's setting, and must not come out different by a slip
// here.
func (a *app) operatorInit() *cobra.Command {
	var ifNeeded bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new cluster out of an empty store",
		Long: `Make a new cluster: Nexus makes a root key, gives each Keeper its share of it,
and opens. This is done once. It is refused where there is a cluster already,
where a Keeper holds a share, and while a Keeper cannot be reached. With --if-needed
it is no failure that there is a cluster already; nothing is changed then.

It needs an identity with the role superuser.`,
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.initialize(cmd.Context(), ifNeeded)
		},
	}
	cmd.Flags().BoolVar(&ifNeeded, "if-needed", false, "exit with 0 where there is a cluster already")
	return cmd
}

// initialize asks no question first. It cannot do harm: Nexus refuses wherever there
// is, or may be, anything to lose.
func (a *app) initialize(ctx context.Context, ifNeeded bool) error {
	s, err := a.connect(ctx, role.Superuser, false)
	if err != nil {
		return err
	}
	defer s.Close()
	// No time limit but the client's: Nexus waits for every Keeper, and each has its own.
	made, err := s.OperatorInit(ctx)
	if ifNeeded && errors.Is(err, api.ErrAlreadyInitialized) {
		a.tell("There is a cluster already; nothing was changed.")
		return nil
	}
	if err != nil {
		return s.explainInit(ctx, err)
	}
	err = a.print(func(w io.Writer) error {
		return render.Fields(w, a.style(s.config),
			render.Field{Name: "Cluster", Value: render.Clean(made.Cluster)},
			render.Field{Name: "Key", Value: render.Clean(made.KeyID)},
			render.Field{Name: "Keepers", Value: strconv.Itoa(made.Keepers)},
			render.Field{Name: "Threshold", Value: fmt.Sprintf("%d of %s, or %d of %s", made.Threshold,
				render.Count(made.Keepers, "Keeper"), made.Threshold, render.Count(made.Shards, "recovery shard"))},
		)
	})
	// Told even when the answer could not be printed. The cluster is there, and this
	// is the moment at which someone will still export the shards.
	a.tell(`
The cluster is made and open. A restarted Nexus gets its root key back from the
Keepers by itself, as long as %d of them keep running.

Now export the recovery shards: when every Keeper has stopped, nothing else
brings the secrets back. With an identity of the role recover:
  spike operator recover`, made.Threshold)
	return despite("The cluster was made.", err)
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
			lyingKeeper,
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
	// Without an answer it may be there, and another try then says so.
	default:
		return s.explainWrite(ctx, "No cluster was made.", err)
	}
	return f
}

// lyingKeeper is for a Keeper that stands in the way by what it says of itself.
const lyingKeeper = "If one holds a share again right after its restart, look at what runs there, or take it out of\n" +
	"Nexus's SPIKE_NEXUS_KEEPER_PEERS: what a Keeper says that it holds, nobody can check."

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
