package cli

import (
	"context"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/role"
)

// listOptions is what the flags of list say. A prefix is an argument, as it is the
// one thing that is given by hand.
type listOptions struct {
	after  string
	limit  int
	tree   bool
	output *format
}

// secretList reads page by page whatever is asked for, so that no list is too long
// for an answer, and none keeps Nexus from answering others.
func (a *app) secretList() *cobra.Command {
	var opt listOptions
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List the paths of secrets",
		Long: `List the paths of all secrets that you may list, one a line and sorted by bytes;
with PREFIX those that begin with it, which need not be a whole name: web lists
website/db as well, web/ does not.

A long list can be read in parts: --limit says how many, and --after with the
last path of one part begins the next. A secret that is written meanwhile may be
in the list or not.

With -o json or yaml the answer is a list of strings.`,
		Example: `  spike secret list
  spike secret list web/ --tree
  spike secret list --limit 100 --after web/db`,
		Args:              arguments(0, 1, "at most a prefix"),
		ValidArgsFunction: a.completeFirstPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.list(cmd, args, &opt)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opt.after, "after", "", "begin behind `PATH`")
	completeWith(cmd, "after", a.completePath)
	flags.IntVar(&opt.limit, "limit", 0, "list at most `N` paths; 0 is all")
	flags.BoolVar(&opt.tree, "tree", false, "show paths as the folders that their slashes make")
	opt.output = outputFlag(cmd)
	return cmd
}

func (a *app) list(cmd *cobra.Command, args []string, opt *listOptions) error {
	ctx := cmd.Context()
	wanted := api.SecretListRequest{After: opt.after}
	if len(args) > 0 {
		wanted.Prefix = args[0]
	}
	// A prefix may be half a path, so the rules for paths do not hold for it.
	switch err := wanted.Validate(); {
	case err != nil:
		return usageFrom(cmd, err)
	case opt.limit < 0:
		return usage(cmd, "The limit is negative.")
	case opt.tree && *opt.output != text:
		return usage(cmd, "--tree is for people: it goes with -o text.")
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	s.asks("list", decision.PathList)
	paths, more, err := s.paths(ctx, wanted, opt.limit)
	if err != nil {
		return s.explain(ctx, "The secrets were not listed.", err)
	}
	style := a.style(s.config)
	err = a.answer(*opt.output, paths, func(w io.Writer) error {
		if opt.tree {
			return render.Tree(w, style, paths)
		}
		return render.Lines(w, paths)
	})
	switch {
	// Told to scripts, too: a list that ends where nobody expects it is a trap.
	case more:
		a.tell("There are more: --after %s", render.Clean(paths[len(paths)-1]))
	// An empty answer on a terminal looks like a command that did nothing. Programs
	// know what an empty list is.
	case len(paths) == 0 && wanted != api.SecretListRequest{} && terminal.Is(a.Out):
		a.tell("There are no such secrets.")
	case len(paths) == 0 && terminal.Is(a.Out):
		a.tell("There are no secrets.")
	}
	return err
}

// paths collects a list, and whether it goes on. It is whole or it is an error:
// a script must not take a part of a list for all of it.
func (s *session) paths(ctx context.Context, wanted api.SecretListRequest, limit int) (paths []string, more bool, err error) {
	if limit > 0 {
		wanted.Limit = min(limit, math.MaxInt-1) + 1 // one tells whether there are more
	}
	paths = []string{} // in JSON [] and not null
	for path, err := range s.SecretPaths(ctx, wanted) {
		if err != nil {
			return nil, false, err
		}
		if limit > 0 && len(paths) == limit {
			return paths, true, nil
		}
		paths = append(paths, path)
	}
	return paths, false, nil
}
