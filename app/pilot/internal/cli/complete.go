package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// completionTime is the longest that a press of the tab key may take. A shell
// does nothing else meanwhile, and whoever waits longer types on.
const completionTime = 800 * time.Millisecond

// quietly lets a completion ask Nexus. Whatever goes wrong, there is just nothing
// to offer: a message would land in the middle of what is being typed.
func (a *app) quietly(cmd *cobra.Command, ask func(context.Context, *session)) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return
	}
	defer s.Close()
	ask(ctx, s)
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
	how = cobra.ShellCompDirectiveNoFileComp
	a.quietly(cmd, func(ctx context.Context, s *session) { names = s.nextNames(ctx, begun) })
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "/") }) {
		how |= cobra.ShellCompDirectiveNoSpace // what is in the folder comes next
	}
	return names, how
}

const (
	// completionPage is how many paths are asked for at once, and completionPages how
	// often: folders are skipped, so few pages show many names, and nobody reads more.
	completionPage  = 200
	completionPages = 20
)

// nextNames returns the secrets and folders that begin with begun. It returns
// what it has found when time is up.
func (s *session) nextNames(ctx context.Context, begun string) (names []string) {
	folder := strings.LastIndexByte(begun, '/') + 1
	page := api.SecretListRequest{Prefix: begun, Limit: completionPage}
	for range completionPages {
		paths, err := s.SecretList(ctx, page)
		if err != nil {
			return names
		}
		for _, path := range paths {
			if path <= page.After {
				continue // in a folder that is offered already
			}
			page.After = path
			if i := strings.IndexByte(path[folder:], '/'); i >= 0 {
				path = path[:folder+i+1]
				page.After = path + "\x7f" // follows everything that a path in it can be
			}
			names = append(names, path)
		}
		if len(paths) < completionPage {
			return names
		}
	}
	return names
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
			if slices.Contains(states, v.State) && !slices.Contains(strings.Split(list, ","), number) {
				offered = append(offered, cobra.CompletionWithDesc(list+number, v.State+", written "+stamp(v.CreatedTime)))
			}
		}
	})
	return offered
}
