package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/pair"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

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
