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

// getOptions is what the flags of get say. There is no format for shells to
// evaluate: a value would have to be quoted for every shell there is.
type getOptions struct {
	version int
	keys    bool
	output  *format
}

// secretGet has two forms, since a value for people and a value for a program are
// not the same: only the first may change what it shows.
func (a *app) secretGet() *cobra.Command {
	var opt getOptions
	cmd := &cobra.Command{
		Use:   "get PATH [KEY]",
		Short: "Read a secret, or one value of it",
		Long: `Read the secret at PATH: every key and its value, a key a line. A value of
several lines follows its key, indented.

With KEY the value alone is written, byte for byte; a newline follows on a
terminal only. This is the form for scripts. With --keys the names alone are
written, one a line.

With -o json or yaml the answer is an object, key to value, all strings; with KEY
one string; with --keys a list of strings, sorted.`,
		Example: `  spike secret get web/db
  spike secret get web/db password
  spike secret get web/db --version 2 -o json`,
		Args:              arguments(1, 2, "a path, and a key if only its value is wanted"),
		ValidArgsFunction: a.completeFirstPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.get(cmd, args, &opt)
		},
	}
	cmd.Flags().IntVar(&opt.version, "version", 0, "which version; 0 is the current one")
	completeWith(cmd, "version", a.completeVersion)
	cmd.Flags().BoolVar(&opt.keys, "keys", false, "show the names of the keys, and no value")
	opt.output = outputFlag(cmd)
	return cmd
}

// get reads the secret as a whole, also when one key is wanted: Nexus keeps and
// guards secrets, not keys.
func (a *app) get(cmd *cobra.Command, args []string, opt *getOptions) error {
	ctx, path := cmd.Context(), args[0]
	if err := api.ValidatePath(path); err != nil {
		return usageFrom(cmd, err)
	}
	// Nexus would say of a negative version that it is not there, which is no help to
	// who mistyped it.
	switch {
	case opt.version < 0:
		return usage(cmd, "The version is negative.")
	case opt.keys && len(args) > 1:
		return usage(cmd, "--keys shows all keys: it goes without KEY.")
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	s.asks("read", path)
	values, err := s.SecretGet(ctx, path, opt.version)
	if err != nil {
		return s.explainGet(ctx, path, opt.version, err)
	}
	// Names go to the terminal cleaned, and to programs as they are.
	keys := slices.Sorted(maps.Keys(values))
	if opt.keys {
		return a.answer(*opt.output, keys, func(w io.Writer) error { return render.Lines(w, keys) })
	}
	if len(args) == 1 {
		return a.answer(*opt.output, values, func(w io.Writer) error {
			return render.Values(w, a.style(s.config), values)
		})
	}
	// A key that is not there is told only to someone who may read the secret.
	value, ok := values[args[1]]
	if !ok {
		for i, key := range keys {
			keys[i] = render.Clean(key)
		}
		return &Failure{
			Code: NotFound,
			What: fmt.Sprintf("The secret %s has no such key.", path),
			Why:  "Its keys are: " + strings.Join(keys, ", ") + ".",
		}
	}
	return a.answer(*opt.output, value, func(w io.Writer) error {
		// Byte for byte even on a terminal, but for this newline: who asks for one value
		// wants that value, and the prompt must not follow on its line.
		if terminal.Is(a.Out) && !strings.HasSuffix(value, "\n") {
			value += "\n"
		}
		_, err := io.WriteString(w, value)
		return err
	})
}
