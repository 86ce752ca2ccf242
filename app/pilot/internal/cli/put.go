package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/pair"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/role"
)

// putOptions is what the flags of put say.
type putOptions struct {
	cas           int
	hasCAS        bool // 0 is a version to compare with, so it cannot stand for none
	trim, keep    bool // what to do with a newline; neither is to ask
	quietExposure bool
	output        *format
}

// secretPut names the ways to give a value from the safest to the one that has a
// warning. There is no flag for a value: it would be as visible, and unwarned.
func (a *app) secretPut() *cobra.Command {
	var opt putOptions
	cmd := &cobra.Command{
		Use:   "put PATH KEY…",
		Short: "Write a new version of a secret",
		Long: `Write a new version of the secret at PATH, with exactly the keys that are given.

Each key comes with where its value is:

  KEY         asked for at a hidden prompt
  KEY=-       standard input; on a terminal it is asked for
  KEY=@FILE   a file
  KEY=VALUE   here, which other users of this machine may see in the list of
              processes, and which the shell's history keeps: a warning says so

Values are UTF-8 text without NUL and are kept byte for byte. There is one question:
when a file or standard input is one line that ends in a newline, as echo writes
it, or in several, they are probably not meant. On a terminal you are asked.
Elsewhere --trim-newline or --verbatim says it; without either, nothing is
written. A text of several lines, such as a PEM key, is never asked about and
never changed. All values together may have 8 MiB, once they are encoded as JSON.

Nothing is written unless all values are good. A value that begins with @, or is
a single -, goes through a file or standard input.

With -o json or yaml the answer is an object: path, and version, the number that
was written.`,
		Example: `  spike secret put web/db user=app password
  spike secret put web/tls key=@server.key cert=@server.crt
  pwgen -s 32 1 | spike secret put web/db user=app password=- --trim-newline
  spike secret put web/db password=@new.txt --verbatim --cas 3`,
		Args:              arguments(2, -1, "a path and at least one KEY, KEY=-, KEY=@FILE or KEY=VALUE"),
		ValidArgsFunction: a.completePut,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.hasCAS = cmd.Flags().Changed("cas")
			return a.put(cmd, args[0], args[1:], &opt)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&opt.cas, "cas", 0, "write only if `N` is the current version; 0: only if PATH is new")
	flags.BoolVar(&opt.trim, "trim-newline", false, "take the newlines off the end of values that are otherwise one line")
	flags.BoolVar(&opt.keep, "verbatim", false, "keep the newlines at the end of values that are otherwise one line")
	flags.BoolVar(&opt.quietExposure, "no-warn", false, "do not warn of values on the command line")
	opt.output = outputFlag(cmd)
	return cmd
}

// put checks and reads everything before it connects, so that a bad pair means
// that nothing is sent. People are asked last: nobody types a value in vain.
func (a *app) put(cmd *cobra.Command, path string, args []string, opt *putOptions) error {
	ctx := cmd.Context()
	if err := api.ValidatePath(path); err != nil {
		f := usageFrom(cmd, err)
		if strings.Contains(path, "=") {
			// The path is not repeated: it may be a pair with a password.
			f.Next = append([]string{"The path comes first, before the keys."}, f.Next...)
		}
		return f
	}
	switch {
	case opt.cas < 0:
		return usage(cmd, "The version of --cas is negative.")
	case opt.trim && opt.keep:
		return usage(cmd, "--trim-newline and --verbatim exclude each other.")
	}
	// Nothing is read or asked for before all arguments are known to be well formed.
	pairs, err := pair.Parse(args)
	if err != nil {
		return usageFrom(cmd, err)
	}
	if !opt.quietExposure {
		a.warnExposed(pairs)
	}
	values, left, err := pair.Load(pairs, a.source(ctx, opt))
	if err != nil {
		return badValue(cmd, err)
	}
	if len(left) > 0 && !a.interactive() {
		return badValue(cmd, fmt.Errorf("a value must be asked for, and %w: write KEY=- or KEY=@FILE", errNoTerminal))
	}
	// The number is what a later --cas or --version needs.
	put := api.SecretPutRequest{Path: path, Values: values, Return: "version"}
	if opt.hasCAS {
		put.CAS = &opt.cas
	}
	if err := tooLargeTogether(&put); err != nil {
		return err
	}
	// Any identity will do, since Nexus decides: workloads write their own secrets.
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	err = pair.Ask(left, values, func(key string) ([]byte, error) { return a.askHidden(ctx, key) })
	if err != nil {
		return badValue(cmd, err)
	}
	if err := tooLargeTogether(&put); err != nil {
		return err // by what was typed
	}
	s.asks("write", path)
	res, err := s.SecretPut(ctx, put)
	if err != nil {
		return s.explainPut(ctx, path, opt, err)
	}
	if *opt.output != text {
		return despite(fmt.Sprintf("Version %d of %s was written.", res.Version, path), a.answer(*opt.output, written{path, res.Version}, nil))
	}
	a.tell("Wrote version %d of %s (%s).", res.Version, path, render.Count(len(values), "key"))
	return nil
}

// written is the answer of put for programs.
type written struct {
	Path    string `json:"path"`
	Version int    `json:"version"`
}

// warnExposed says which values others can see, and how to give them instead. It
// is told before anything can fail: by then they have been seen.
func (a *app) warnExposed(pairs []pair.Pair) {
	keys := pair.Exposed(pairs)
	if len(keys) == 0 {
		return
	}
	// All are named, since nothing tells a user name from a password: who reads this
	// knows, and an advice with the key in it can be typed as it stands.
	for i := range keys {
		keys[i] = render.Clean(keys[i])
	}
	first := keys[0]
	a.tell(`Warning: on the command line, other users of this machine may see values in the
list of processes, and the shell's history keeps them: %s.
For a value that is secret: %s (hidden prompt), %s=- or %s=@FILE.
For values that are not: --no-warn.`, strings.Join(keys, ", "), first, first, first)
}

// source is where values come from that are neither literal nor asked for.
func (a *app) source(ctx context.Context, opt *putOptions) pair.Source {
	from := pair.Source{Trim: func(what string, newlines int) (bool, error) { return a.trim(ctx, opt, what, newlines) }}
	if !terminal.Is(a.In) {
		from.Input = func() ([]byte, error) {
			content, err := pair.ReadAll(terminal.Reader(ctx, a.In))
			// A command before the pipe that failed leaves nothing, and that must not
			// become the password.
			if err == nil && len(content) == 0 {
				err = fmt.Errorf("standard input was empty: %w", pair.ErrEmpty)
			}
			return content, err
		}
	}
	return from
}

// trim decides about the newlines at the end of a single line: the flags, a person,
// or nobody.
func (a *app) trim(ctx context.Context, opt *putOptions, what string, newlines int) (bool, error) {
	ends, them := "a newline, which is probably not meant", "the newline"
	if newlines > 1 {
		ends, them = fmt.Sprintf("%d newlines, which are probably not meant", newlines), "the newlines"
	}
	switch {
	case opt.trim, opt.keep:
		return opt.trim, nil
	case !a.interactive():
		return false, fmt.Errorf("%s is one line that ends in %s: "+
			"say --trim-newline to store it without, or --verbatim to keep it", what, ends)
	}
	// What it is named, a file or standard input, is shown; what is in it is not.
	a.tell("In %s there is one line that ends in %s.", what, ends)
	answer, err := a.ask(ctx, "Store it without "+them+"?", "yes", "no")
	return answer == "yes", err
}

// tooLargeTogether tells before anything is sent that it would not be taken. Values
// that are each small enough can be too large for one request.
func tooLargeTogether(put *api.SecretPutRequest) error {
	size, err := client.Size(put)
	if err != nil || size <= api.MaxBody {
		return err
	}
	f := &Failure{
		Code: Usage, What: "The secret was not written: it is too large.",
		Why: fmt.Sprintf("All values together may have %d MiB, once encoded as JSON, and these have %.1f.",
			api.MaxBody>>20, math.Ceil(float64(size)/(1<<20)*10)/10),
		Next: []string{"Write them as several secrets, each with some of the keys. Nothing was sent."},
	}
	if len(put.Values) == 1 {
		f.Next = []string{"Keep it elsewhere, encrypted, and the key to it as a secret. Nothing was sent."}
	}
	return f
}

// badValue is for values that are not there as they should be. Nothing was sent.
func badValue(cmd *cobra.Command, err error) error {
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	return usageFrom(cmd, err)
}

// explainPut adds what only a put with --cas can meet.
func (s *session) explainPut(ctx context.Context, path string, opt *putOptions, err error) error {
	if !errors.Is(err, api.ErrVersionConflict) || !opt.hasCAS {
		return s.explainWrite(ctx, "The secret was not written.", err)
	}
	f := &Failure{
		Code: Conflict, Err: err,
		What: fmt.Sprintf("The secret was not written: version %d of %s is not the current one.", opt.cas, path),
		Why:  "It was written again, or it is not there.",
		Next: []string{"What there is: spike secret metadata get " + render.ShellWord(path)},
	}
	// Only what is certain is told: which version is current now may have changed
	// again, and a caller who may write need not be allowed to read it.
	if opt.cas == 0 {
		f.What = fmt.Sprintf("The secret was not written: %s is not new.", path)
		f.Why = "It was written before; even when all its versions are deleted, its path is taken."
	}
	return f
}
