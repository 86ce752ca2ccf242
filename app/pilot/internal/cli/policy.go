package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/policyfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// policy has the commands that change policies, and two that need no Nexus: what is
// wrong with them, and what they would decide, is best known before they count.
func (a *app) policy() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "policy COMMAND",
		Short: "Say which workloads may do what, and test it",
		Long: `Say which workloads may do what, and test it.

A policy has a name, a pattern for SPIFFE IDs, a pattern for paths, and
permissions. A workload may do what at least one policy grants it.

Patterns are regular expressions that begin with ^ and end with $. Permissions
are read, write, list, execute (to encrypt and decrypt, at
spike/system/cipher/exec) and super, which implies all. Paths under spike/system/
are SPIKE's own: a pattern grants one only if it begins with ^spike/system/ as it
is, or with super.`,
	})
	cmd.AddCommand(a.policyCreate(), a.policyApply(), a.policyList(), a.policyGet(), a.policyDelete(), a.policyTest(), a.policyLint())
	return cmd
}

// policyCreate is for one policy, without a file. It is checked as one that is in a
// file, so that there is one set of rules.
func (a *app) policyCreate() *cobra.Command {
	var id, path string
	var permissions []string
	cmd := &cobra.Command{
		Use:   "create NAME --spiffeid PATTERN --path PATTERN --permission LIST",
		Short: "Write a new policy",
		Long: `Write the new policy NAME. If there is one of that name, nothing is written;
"spike policy apply" replaces. That is looked up first: of two who create a name at
the same moment, the second replaces what the first wrote.

Put patterns into single quotes, so that the shell leaves them alone.`,
		Example: `  spike policy create web-db --permission read \
    --spiffeid '^spiffe://spike\.ist/web$' --path '^web/db$'`,
		Args: arguments(1, 1, "a name"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVar(&id, "spiffeid", "", "for whom: a `PATTERN` for SPIFFE IDs")
	flags.StringVar(&path, "path", "", "where: a `PATTERN` for paths")
	flags.StringSliceVar(&permissions, "permission", nil, "what: a `LIST` of "+policy.All.String())
	completeWith(cmd, "permission", completePermissions)
	complete(cmd, "spiffeid")
	complete(cmd, "path")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if id == "" || path == "" || len(permissions) == 0 {
			return usage(cmd, "A policy needs --spiffeid, --path and --permission.")
		}
		d := policyfile.Document{
			Name: policyfile.Text{Value: args[0], Line: 1}, SPIFFEID: policyfile.Text{Value: id, Line: 1}, Path: policyfile.Text{Value: path, Line: 1},
		}
		for _, p := range permissions {
			// In "read, write" the space is not meant.
			d.Permissions = append(d.Permissions, policyfile.Text{Value: strings.TrimSpace(p), Line: 1})
		}
		return a.createPolicy(cmd, &d)
	}
	return cmd
}

// completePermissions offers one more of a list.
func completePermissions(_ *cobra.Command, _ []string, begun string) (offered []cobra.Completion, how cobra.ShellCompDirective) {
	list := begun[:strings.LastIndexByte(begun, ',')+1]
	for _, word := range policy.All.Names() {
		if !slices.Contains(strings.Split(list, ","), word) {
			offered = append(offered, list+word)
		}
	}
	return offered, cobra.ShellCompDirectiveNoFileComp
}

// createPolicy tells every mistake at once, and asks Nexus only if there is none. That
// no policy of this name is there is looked up first: Nexus would replace it. Two who
// create the same one at the same moment are not told apart; apply is for that.
func (a *app) createPolicy(cmd *cobra.Command, d *policyfile.Document) error {
	ctx := cmd.Context()
	problems := policyfile.Check([]policyfile.Document{*d})
	if wrong := policyfile.Errors(problems); len(wrong) > 0 {
		f := usageFrom(cmd, errors.New("the policy was not written"))
		var why, write []string
		for _, p := range wrong {
			why = append(why, onFlags(p.What), p.Hint)
			write = append(write, writeInstead(&p)...)
		}
		f.Why, f.Next = joined(why...), append(write, f.Next...)
		return f
	}
	for _, p := range problems {
		a.tell("Warning: %s", strings.Join(append([]string{joined(onFlags(p.What), p.Hint)}, writeInstead(&p)...), "\n  "))
	}
	put := putRequest(d)
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	const nothing = "The policy was not written."
	s.asks("read", decision.PathPolicy)
	switch _, err := s.PolicyGet(ctx, put.Name); {
	case err == nil:
		return &Failure{
			Code: Conflict, What: nothing, Why: fmt.Sprintf("There is a policy %s already.", put.Name),
			Next: []string{"What it says: spike policy get " + render.ShellWord(put.Name), "To replace it, from a file: spike policy apply"},
		}
	case !errors.Is(err, api.ErrNotFound):
		return s.explain(ctx, nothing, err)
	}
	s.asks("write", decision.PathPolicy)
	if err := s.PolicyPut(ctx, put); err != nil {
		return s.explainWrite(ctx, nothing, err)
	}
	a.tell("Created the policy %s.", put.Name)
	return nil
}

// flagOf names the flag that stands for a key of a file.
func flagOf(key string) string {
	return map[string]string{"spiffeidPattern": "--spiffeid", "pathPattern": "--path", "permissions": "--permission"}[key]
}

// onFlags makes a sentence about a file's keys one about the command line.
func onFlags(s string) string {
	return strings.NewReplacer("spiffeidPattern", "--spiffeid", "pathPattern", "--path").Replace(s)
}

// writeInstead is what to write on the command line, if that is known.
func writeInstead(p *policyfile.Problem) []string {
	if p.Instead == "" {
		return nil
	}
	return []string{"Write: " + flagOf(p.Key) + " " + render.ShellWord(p.Instead)}
}

// putRequest is what a document without errors becomes.
func putRequest(d *policyfile.Document) api.PolicyPutRequest {
	put := api.PolicyPutRequest{Name: d.Name.Value, SPIFFEIDPattern: d.SPIFFEID.Value, PathPattern: d.Path.Value}
	for _, p := range d.Permissions {
		put.Permissions = append(put.Permissions, p.Value)
	}
	return put
}

// policyList leaves it to Nexus to compare patterns, which it does by their text.
func (a *app) policyList() *cobra.Command {
	var filter api.PolicyListRequest
	cmd := &cobra.Command{
		Use:   "list [--spiffeid PATTERN] [--path PATTERN]",
		Short: "List the names of policies",
		Long: `List the names of all policies, one a line and sorted; with --spiffeid or --path
those whose pattern is exactly this text.

With -o json or yaml the answer is a list of strings.`,
		Example: `  spike policy list
  spike policy list --path '^web/db$'`,
		Args: none(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&filter.SPIFFEIDPattern, "spiffeid", "", "those with this `PATTERN` for SPIFFE IDs")
	cmd.Flags().StringVar(&filter.PathPattern, "path", "", "those with this `PATTERN` for paths")
	complete(cmd, "spiffeid")
	complete(cmd, "path")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		s, err := a.connect(ctx, role.Superuser, true)
		if err != nil {
			return err
		}
		defer s.Close()
		s.asks("list", decision.PathPolicy)
		names, err := s.PolicyList(ctx, filter)
		if err != nil {
			return s.explain(ctx, "The policies were not listed.", err)
		}
		if len(names) == 0 && terminal.Is(a.Out) {
			a.tell("There are no such policies.")
		}
		return a.answer(*output, names, func(w io.Writer) error { return render.Lines(w, names) })
	}
	return cmd
}

// policyAnswer is a policy as programs get it: under the names that a file has, so
// that it can be applied again.
type policyAnswer struct {
	Name            string    `json:"name"`
	SPIFFEIDPattern string    `json:"spiffeidPattern"`
	PathPattern     string    `json:"pathPattern"`
	Permissions     []string  `json:"permissions"`
	CreatedAt       time.Time `json:"createdAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
}

// policyGet answers programs in the form of a file, and never under the wire's names.
func (a *app) policyGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a policy",
		Long: `Show the policy NAME.

With -o json or yaml the answer is an object: name, spiffeidPattern, pathPattern,
permissions, createdAt, updatedAt. It can be applied again.`,
		Example: `  spike policy get web-db
  spike policy get web-db -o yaml > web-db.yaml`,
		Args: arguments(1, 1, "a name"), ValidArgsFunction: a.completePolicy,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := policy.ValidateName(args[0]); err != nil {
			return usageFrom(cmd, err)
		}
		s, err := a.connect(ctx, role.Superuser, true)
		if err != nil {
			return err
		}
		defer s.Close()
		s.asks("read", decision.PathPolicy)
		p, err := s.PolicyGet(ctx, args[0])
		if err != nil {
			return noPolicy(s.explain(ctx, "The policy was not read.", err), args[0])
		}
		shown := policyAnswer{p.Name, p.SPIFFEIDPattern, p.PathPattern, p.Permissions, p.CreatedAt, p.UpdatedAt}
		return a.answer(*output, shown, func(w io.Writer) error { return writePolicy(w, a.style(s.config), &p) })
	}
	return cmd
}

// writePolicy shows patterns as they are but for what could steer a terminal: they
// were written by somebody else.
func writePolicy(w io.Writer, style render.Style, p *api.Policy) error {
	return render.Fields(w, style,
		render.Field{Name: "Name", Value: render.Clean(p.Name)},
		render.Field{Name: "SPIFFE IDs", Value: render.Clean(p.SPIFFEIDPattern)},
		render.Field{Name: "Paths", Value: render.Clean(p.PathPattern)},
		render.Field{Name: "Permissions", Value: render.Clean(strings.Join(p.Permissions, ", "))},
		render.Field{Name: "Created", Value: stamp(p.CreatedAt)},
		render.Field{Name: "Updated", Value: stamp(p.UpdatedAt)},
	)
}

// policyDelete asks, since whoever was granted something by the policy is refused from
// that moment on.
func (a *app) policyDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a policy",
		Long: `Delete the policy NAME. From the moment this is done, nobody is granted anything
by it.

It shows the policy and asks. For scripts there is --yes: where there is no
terminal, nothing is deleted without it.`,
		Example: `  spike policy delete web-db
  spike policy delete web-db --yes`,
		Args: arguments(1, 1, "a name"), ValidArgsFunction: a.completePolicy,
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.deletePolicy(cmd, args[0], yes) }
	return cmd
}

// deletePolicy shows the policy before it asks: two names are soon mistaken for each
// other, and what they grant is not.
func (a *app) deletePolicy(cmd *cobra.Command, name string, yes bool) error {
	ctx := cmd.Context()
	if err := policy.ValidateName(name); err != nil {
		return usageFrom(cmd, err)
	}
	if !yes && !a.interactive() {
		f := usage(cmd, "To delete a policy needs a yes, and %v.", errNoTerminal)
		f.Next = append([]string{"If it is meant, say so: --yes. Nothing was sent."}, f.Next...)
		return f
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	const nothing = "The policy was not deleted."
	s.asks("read", decision.PathPolicy)
	if !yes {
		p, err := s.PolicyGet(ctx, name)
		if err != nil {
			return noPolicy(s.explain(ctx, nothing, err), name)
		}
		if err := writePolicy(a.Err, render.Style{}, &p); err != nil {
			return err
		}
		if err := a.confirm(ctx); err != nil {
			return err
		}
	}
	s.asks("write", decision.PathPolicy)
	if err := s.PolicyDelete(ctx, name); err != nil {
		return noPolicy(s.explainWrite(ctx, nothing, err), name)
	}
	a.tell("Deleted the policy %s.", name)
	return nil
}

// noPolicy replaces what is said of anything that is not found.
func noPolicy(err error, name string) error {
	var f *Failure
	if !errors.As(err, &f) || f.Code != NotFound {
		return err
	}
	f.What = fmt.Sprintf("There is no policy %s.", name)
	f.Why, f.Next = "", []string{"What there is: spike policy list"}
	return f
}

// completePolicy offers names of policies.
func (a *app) completePolicy(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, how cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a.quietly(cmd, func(ctx context.Context, s *session) {
		if list, err := s.PolicyList(ctx, api.PolicyListRequest{}); err == nil {
			names = list
		}
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
