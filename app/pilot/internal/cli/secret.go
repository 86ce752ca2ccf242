package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/pair"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) secret() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "secret COMMAND",
		Short: "Write, read and list secrets",
	})
	cmd.AddCommand(a.secretPut(), a.secretGet(), a.secretList())
	return cmd
}

func (a *app) secretPut() *cobra.Command {
	return &cobra.Command{
		Use:   "put PATH KEY=VALUE…",
		Short: "Write a new version of a secret",
		Long: `Write a new version of the secret at PATH, with exactly the keys that are given.

A value can be given in three ways:
  KEY=@FILE   a file's content, byte for byte
  KEY=-       standard input, byte for byte; on a terminal a hidden prompt
  KEY=VALUE   as it stands, which other users of this machine may see in the
              list of processes, and which the shell's history keeps

Values are UTF-8 text. A value that begins with @, or is a single -, goes
through a file or standard input. Nothing is written unless all pairs are good.`,
		Example: `  spike secret put web/tls key=@server.key cert=@server.crt
  pwgen -s 32 1 | tr -d '\n' | spike secret put web/db user=app password=-`,
		Args:              arguments(2, -1, "a path and at least one KEY=VALUE"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.put(cmd, args[0], args[1:])
		},
	}
}

// put checks and reads everything before it connects, so that a bad pair means
// that nothing is sent.
func (a *app) put(cmd *cobra.Command, path string, args []string) error {
	ctx := cmd.Context()
	if err := api.ValidatePath(path); err != nil {
		f := usageFrom(cmd, err)
		if strings.Contains(path, "=") {
			// The path is not repeated: it may be a pair with a password.
			f.Next = append([]string{"The path comes first, before the pairs."}, f.Next...)
		}
		return f
	}
	pairs, err := pair.Parse(args)
	if err != nil {
		return usageFrom(cmd, err)
	}
	values, err := pair.Load(pairs, func(key string) ([]byte, error) { return a.value(ctx, key) })
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	if err != nil {
		return usageFrom(cmd, err)
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	res, err := s.SecretPut(ctx, api.SecretPutRequest{Path: path, Values: values, Return: "version"})
	if err != nil {
		return s.explainWrite(ctx, "The secret was not written.", err)
	}
	if res.Version > 0 {
		a.tell("Wrote version %d of %s (%s).", res.Version, path, render.Count(len(values), "key"))
	} else {
		a.tell("Wrote %s (%s).", path, render.Count(len(values), "key"))
	}
	return nil
}

// usageFrom makes a sentence of a local check's error. Nothing was sent.
func usageFrom(cmd *cobra.Command, err error) *Failure {
	return &Failure{
		Code: Usage, What: sentence(err.Error()), Err: err,
		Next: []string{"Usage: " + cmd.UseLine(), "Nothing was sent."},
	}
}

// value reads the value of key from standard input.
func (a *app) value(ctx context.Context, key string) ([]byte, error) {
	if !terminal.Is(a.In) {
		content, err := pair.ReadAll(terminal.Reader(ctx, a.In))
		if err == nil && len(content) == 0 {
			err = pair.ErrEmptyInput
		}
		return content, err
	}
	const longest = 64 << 10
	prompt := "Value of " + render.Clean(key) + " (not shown): "
	return terminal.ReadHidden(ctx, a.In, a.Err, prompt, longest, func([]byte) bool { return false })
}

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
		return a.print(func(w io.Writer) error {
			if output == jsonFormat {
				return render.JSON(w, values)
			}
			return render.Values(w, values)
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
	return a.print(func(w io.Writer) error {
		if output == jsonFormat {
			return render.JSON(w, value)
		}
		if terminal.Is(a.Out) && !strings.HasSuffix(value, "\n") {
			value += "\n"
		}
		_, err := io.WriteString(w, value)
		return err
	})
}

// notThere replaces what is said of anything that is not found by what is true
// of a secret. Other failures stay as they are.
func notThere(err error, path string, version int) error {
	var f *Failure
	if !errors.As(err, &f) || f.Code != NotFound {
		return err
	}
	f.What = "There is no secret " + path + "."
	f.Why = "It was never written, or its current version is deleted."
	if version > 0 {
		f.What = fmt.Sprintf("There is no version %d of %s.", version, path)
		f.Why = "There is no such secret, the version was never written, or it is deleted or too old to be kept."
	}
	f.Next = []string{"What there is: spike secret list"}
	return f
}

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
		return a.print(func(w io.Writer) error {
			if *output == jsonFormat {
				return render.JSON(w, paths)
			}
			for _, path := range paths {
				if _, err := fmt.Fprintln(w, render.Clean(path)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}
