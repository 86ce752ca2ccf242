package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// quietly lets a completion ask Nexus. Whatever goes wrong, there is just nothing
// to offer: a message would land in the middle of what is being typed.
func (a *app) quietly(cmd *cobra.Command, ask func(context.Context, *session)) {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.CompletionTime)
	defer cancel()
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return
	}
	defer s.Close()
	ask(ctx, s)
}

// completeFilesOnly offers files for those flags of cmd whose value is one. Cobra would
// for all that have nothing else, numbers and patterns as well.
func completeFilesOnly(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f)
		if _, known := cmd.GetFlagCompletionFunc(f.Name); !known && value != "FILE" && value != "FOLDER" {
			complete(cmd, f.Name)
		}
	})
}

// completeFirstPath offers paths for a command's first argument, and nothing for
// the others: the names of keys are in the values, which are not read for this.
func (a *app) completeFirstPath(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completePath(cmd, args, begun)
}

// completePath offers paths up to their next slash, as a shell does with files.
func (a *app) completePath(cmd *cobra.Command, _ []string, begun string) (names []cobra.Completion, how cobra.ShellCompDirective) {
	a.quietly(cmd, func(ctx context.Context, s *session) { names = s.nextNames(ctx, begun) })
	return names, howToGoOn(names)
}

// howToGoOn tells a shell that behind a folder comes what is in it, and no space.
func howToGoOn(names []string) cobra.ShellCompDirective {
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "/") }) {
		return cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return cobra.ShellCompDirectiveNoFileComp
}

// A page of paths is asked for until so many names are found, or so often. The
// folders that are found are skipped, so few pages show many names. No shell shows
// more of them well.
const (
	completionPage  = 1000
	completionPages = 50
	completionNames = 500
)

// nextNames returns the secrets and folders that begin with begun. When something
// goes wrong, there are none: with a part of them, a shell would go on to type what
// these have in common.
func (s *session) nextNames(ctx context.Context, begun string) (names []string) {
	folder := strings.LastIndexByte(begun, '/') + 1
	list := api.SecretListRequest{Prefix: begun, Limit: completionPage}
	for calls := 0; ; calls++ {
		if calls >= completionPages || len(names) >= completionNames {
			if len(names) == 0 {
				return nil
			}
			// Since not all are known, one that differs must be among them, and as early in
			// it as any does.
			common := commonPrefix(names)
			if common == begun {
				return names
			}
			list.After, list.Limit = common+past, 1
		}
		paths, err := s.SecretList(ctx, list)
		if err != nil {
			return nil
		}
		for _, path := range paths {
			if path <= list.After || !strings.HasPrefix(path, begun) || !printable(path) {
				continue // in a folder that is offered already, or no answer to what was asked
			}
			list.After = path
			if i := strings.IndexByte(path[folder:], '/'); i >= 0 {
				path = path[:folder+i+1]
				list.After = path + past
			}
			names = append(names, path)
		}
		if len(paths) < list.Limit {
			return names
		}
	}
}

// past follows every character of a path: what begins with a text comes before
// that text with past behind it.
const past = "\x7f"

// commonPrefix returns what all of names begin with. They are sorted, so the first
// and the last decide.
func commonPrefix(names []string) string {
	first, last := names[0], names[len(names)-1]
	n := 0
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	return first[:n]
}

// completeVersion offers the versions that can be read.
func (a *app) completeVersion(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.versions(cmd, args, []string{live}, ""), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeVersions offers one more version of a list, out of those in a state
// that the command is for.
func (a *app) completeVersions(states []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		list := begun[:strings.LastIndexByte(begun, ',')+1]
		return a.versions(cmd, args, states, list), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// versions returns completions of list, the newest version first.
func (a *app) versions(cmd *cobra.Command, args, states []string, list string) (offered []cobra.Completion) {
	if len(args) == 0 {
		return nil
	}
	a.quietly(cmd, func(ctx context.Context, s *session) {
		res, err := s.SecretMetadata(ctx, args[0], 0)
		if err != nil {
			return
		}
		for _, v := range slices.Backward(newMetadata(args[0], &res).Versions) {
			number := strconv.Itoa(v.Version)
			switch {
			case !slices.Contains(states, v.State) || slices.Contains(strings.Split(list, ","), number):
			case list == "":
				offered = append(offered, cobra.CompletionWithDesc(number, v.State+", written "+stamp(v.CreatedTime)))
			default:
				// Bash's printf %q escapes a comma, and cobra's script then takes what has a
				// description for something else than what was typed.
				offered = append(offered, list+number)
			}
		}
	})
	return offered
}
