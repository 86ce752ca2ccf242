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

func (a *app) operatorKeeper() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "keeper COMMAND",
		Short: "Say where a cluster's Keepers are",
	})
	cmd.AddCommand(a.keeperReplace())
	return cmd
}

func (a *app) keeperReplace() *cobra.Command {
	return &cobra.Command{
		Use:   "replace INDEX URL [INDEX URL]...",
		Short: "Put another Keeper in the place of one",
		Long: `Put another Keeper in the place of one, or of several at once: from now on, Keeper
INDEX of "spike operator status" is the one at URL. Nexus gives it the share of that
index. It must answer, and hold nothing or that very share; nothing is changed
otherwise.

The Keeper before loses its share once the new one has it. One that cannot be
reached keeps it until that process ends; Nexus tries on until it is restarted, and
status says so meanwhile. When all Keepers are replaced at once, those before are
left alone: they may serve the same cluster at another place.

Nexus is not restarted by this, and its setting SPIKE_NEXUS_KEEPER_PEERS must name
the same Keepers before its next start. The command prints what it has to be.

It needs an identity with the role superuser.`,
		Example: `  spike operator keeper replace 2 https://keeper-2b:8443
  spike operator keeper replace 1 https://n1:8443 2 https://n2:8443 3 https://n3:8443`,
		Args:              arguments(2, -1, "an index and a URL, or several"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			urls := map[int]string{}
			for i := 0; i < len(args); i += 2 {
				index, err := strconv.Atoi(args[i])
				if err != nil || index < 1 || i+1 == len(args) || urls[index] != "" {
					return usage(cmd, "Indexes, each from 1 and once, and URLs go in pairs: INDEX URL.")
				}
				urls[index] = args[i+1]
			}
			return a.replaceKeepers(cmd.Context(), urls)
		},
	}
}

func (a *app) replaceKeepers(ctx context.Context, urls map[int]string) error {
	s, err := a.connect(ctx, role.Superuser, false)
	if err != nil {
		return err
	}
	defer s.Close()
	res, err := s.OperatorKeeper(ctx, urls)
	if err != nil {
		return s.explainReplace(ctx, err)
	}
	err = a.print(func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "SPIKE_NEXUS_KEEPER_PEERS=%s\n", render.Clean(strings.Join(res.Keepers, ",")))
		return err
	})
	for _, k := range res.Replaced {
		a.tell("The one that was Keeper %d, at %s: %s.", k.Index, render.Clean(k.URL), render.Clean(k.Detail))
	}
	a.tell(`
See that each has its share: spike operator status
Before Nexus's next start, set its SPIKE_NEXUS_KEEPER_PEERS to the line above.`)
	return despite("The Keepers were replaced.", err)
}

func (s *session) explainReplace(ctx context.Context, err error) error {
	const nothing = "No Keeper was replaced."
	f := &Failure{What: nothing, Err: err}
	switch {
	case errors.Is(err, api.ErrKeeperUnreachable):
		f.Code = NotReady
		f.Why = "What is at one of the URLs does not answer as a Keeper; Nexus's log says why."
		f.Next = []string{"Is the URL right, does the Keeper run, and has it its identity? Then run this again."}
	case errors.Is(err, api.ErrKeeperHoldsShare):
		f.Code = Conflict
		f.Why = "The Keeper at one of the URLs holds another share than it is to have; Nexus's log says which."
		f.Next = []string{"If no cluster needs that share, restart that Keeper, which empties it, and run this again."}
	case errors.Is(err, api.ErrBadRequest):
		f.Code = Usage
		f.Why = "There is no Keeper of that index, a URL is not of the form https://host:port, or it is another Keeper's."
		f.Next = []string{"Which there are: spike operator status"}
	default:
		return s.explainWrite(ctx, nothing, err)
	}
	return f
}
