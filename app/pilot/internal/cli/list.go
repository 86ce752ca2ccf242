package cli

import (
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) secretList() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "List the paths of secrets",
		Long:              "List the paths of all secrets that you may list, one a line and sorted.",
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		s, err := a.connect(ctx, role.Superuser, true)
		if err != nil {
			return err
		}
		defer s.Close()
		paths, err := s.SecretList(ctx, api.SecretListRequest{})
		if err != nil {
			return s.explain(ctx, "The secrets were not listed.", err)
		}
		// Nexus sorts them already; the order is this command's promise.
		slices.Sort(paths)
		if len(paths) == 0 {
			paths = []string{} // in JSON [] and not null
			if terminal.Is(a.Out) {
				a.tell("There are no secrets.")
			}
		}
		return a.answer(*output, paths, func(w io.Writer) error { return render.Lines(w, paths) })
	}
	return cmd
}
