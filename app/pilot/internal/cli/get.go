package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) secretGet() *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use:   "get PATH [KEY]",
		Short: "Read a secret, or one value of it",
		Long: `Read the secret at PATH: every key and its value, for people, or as JSON.

With KEY, the value alone is written, byte for byte; a newline follows on a
terminal only. This is the form for scripts.`,
		Example: `  spike secret get web/db
  spike secret get web/db password
  spike secret get web/db --version 2 -o json`,
		Args:              arguments(1, 2, "a path, and a key if only its value is wanted"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().IntVar(&version, "version", 0, "which version; 0 is the current one")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.get(cmd, args, version, *output)
	}
	return cmd
}

func (a *app) get(cmd *cobra.Command, args []string, version int, output format) error {
	ctx, path := cmd.Context(), args[0]
	if err := api.ValidatePath(path); err != nil {
		return usageFrom(cmd, err)
	}
	if version < 0 {
		return usage(cmd, "The version is negative.")
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	values, err := s.SecretGet(ctx, path, version)
	if err != nil {
		return notThere(s.explain(ctx, "The secret was not read.", err), path, version)
	}
	if len(args) == 1 {
		return a.answer(output, values, func(w io.Writer) error {
			return render.Values(w, a.style(s.config), values)
		})
	}
	// A key that is not there is told only to someone who may read the secret.
	value, ok := values[args[1]]
	if !ok {
		var keys []string
		for _, key := range slices.Sorted(maps.Keys(values)) {
			keys = append(keys, render.Clean(key))
		}
		return &Failure{
			Code: NotFound,
			What: fmt.Sprintf("The secret %s has no such key.", path),
			Why:  "Its keys are: " + strings.Join(keys, ", ") + ".",
		}
	}
	return a.answer(output, value, func(w io.Writer) error {
		if terminal.Is(a.Out) && !strings.HasSuffix(value, "\n") {
			value += "\n"
		}
		_, err := io.WriteString(w, value)
		return err
	})
}
