package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/role"
)

// change is what can be done to versions of a secret. The three commands differ in
// these values alone, so that they agree in everything else: which versions are
// meant, what is passed over, how it is told.
type change struct {
	verb, done string // "delete", "Deleted"
	// from are the states that a version can be changed out of.
	from []string
	// reached are the states that a version may have already for there to be
	// nothing to do, and nothing wrong: a script can be run again.
	reached []string
	// apply is a method of the client, whose connection the command makes.
	apply func(*client.Client, context.Context, string, ...int) error
	// final asks before it is done: there is no way back.
	final bool
}

// changeAnswer is the part of the help that describes plan, the answer of all three.
const changeAnswer = `

With -o json or yaml the answer is an object: path; versions, the numbers that
were changed; and passedOver, those that were not.`

// secretDelete asks nothing, although it takes something away: it can be undone,
// and who is asked about everything soon answers without reading.
func (a *app) secretDelete() *cobra.Command {
	return a.changeCommand(&change{
		verb: "delete", done: "Deleted", from: []string{live}, reached: []string{deleted, destroyed, gone},
		apply: (*client.Client).SecretDelete,
	}, &cobra.Command{
		Use:   "delete PATH",
		Short: "Delete versions of a secret, so that they can be brought back",
		Long: `Delete versions of the secret at PATH: the current one unless --versions names
others. They can no longer be read.

Nothing is lost, so nothing is asked, with --yes or without: "spike secret
undelete" brings them back.
While the current version is deleted, a read without a version finds nothing; it
never falls back to an older value.` + changeAnswer,
		Example: `  spike secret delete web/db
  spike secret delete web/db --versions 1,2`,
	})
}

// secretUndelete is the way back, which the answer of delete spells out.
func (a *app) secretUndelete() *cobra.Command {
	return a.changeCommand(&change{
		verb: "undelete", done: "Brought back", from: []string{deleted}, reached: []string{live},
		apply: (*client.Client).SecretUndelete,
	}, &cobra.Command{
		Use:   "undelete PATH",
		Short: "Bring deleted versions of a secret back",
		Long: `Bring deleted versions of the secret at PATH back: the current one unless
--versions names others.` + changeAnswer,
		Example: `  spike secret undelete web/db
  spike secret undelete web/db --versions 1,2`,
	})
}

// secretDestroy has no default for the versions: nobody should lose one by leaving
// a flag out.
func (a *app) secretDestroy() *cobra.Command {
	return a.changeCommand(&change{
		verb: "destroy", done: "Destroyed", from: []string{live, deleted}, reached: []string{destroyed, gone},
		apply: (*client.Client).SecretDestroy, final: true,
	}, &cobra.Command{
		Use:   "destroy PATH --versions LIST",
		Short: "Remove versions of a secret for good",
		Long: `Remove the values of versions of the secret at PATH for good. Nothing brings them
back. The numbers are not used again.

It says what it will do and asks. For scripts there is --yes: where there is no
terminal, nothing is destroyed without it.` + changeAnswer,
		Example: `  spike secret destroy web/db --versions 1,2
  spike secret destroy web/db --versions 1-4 --yes`,
	})
}

// changeCommand adds what the three have in common.
func (a *app) changeCommand(c *change, cmd *cobra.Command) *cobra.Command {
	var named versionList
	var yes bool
	cmd.Args = arguments(1, 1, "a path")
	cmd.ValidArgsFunction = a.completeFirstPath
	which := "which versions, such as 1,2 or 3-5; 0 is the current one"
	if !c.final {
		which += " (default 0)"
	}
	cmd.Flags().Var(&named, "versions", which)
	completeWith(cmd, "versions", a.completeVersions(c.from))
	// All three have it, so that a script can give it to any.
	about := "for scripts that give it to every command; nothing is asked here"
	if c.final {
		about = "do it without asking"
	}
	cmd.Flags().BoolVar(&yes, "yes", false, about)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.changeVersions(cmd, c, args[0], named, yes, *output)
	}
	return cmd
}

// changeVersions runs any of the three.
func (a *app) changeVersions(cmd *cobra.Command, c *change, path string, named []int, yes bool, output format) error {
	ctx := cmd.Context()
	if err := api.ValidatePath(path); err != nil {
		return usageFrom(cmd, err)
	}
	switch {
	case c.final && len(named) == 0:
		return usage(cmd, "The versions to %s must be named: --versions.", c.verb)
	// Before anything else, so that a script fails on its first line and not after
	// it has learned what there is.
	case c.final && !yes && !a.interactive():
		f := usage(cmd, "To %s cannot be undone, and %v.", c.verb, errNoTerminal)
		f.Next = append([]string{"If it is meant, say so: --yes. Nothing was sent."}, f.Next...)
		return f
	case len(named) == 0:
		named = []int{0}
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	s.asks("write", path)
	p, err := s.plan(ctx, c, path, named)
	if err != nil {
		return err
	}
	for _, remark := range p.remarks {
		a.tell("%s", remark)
	}
	switch {
	case len(p.Versions) > 0:
		err = a.carryOut(ctx, s, c, p, yes)
	case p.amiss:
		err = &Failure{Code: NotFound, What: fmt.Sprintf("There is nothing to %s.", c.verb), Next: []string{
			"What there is: spike secret metadata get " + render.ShellWord(path),
		}}
	}
	// Without -o there is nothing for standard output: what was done is a remark.
	if err != nil || output == text {
		return err
	}
	err = a.answer(output, p, nil)
	if len(p.Versions) == 0 {
		return err
	}
	return despite("The versions were changed.", err)
}

// carryOut asks where that is due, and does what is planned.
func (a *app) carryOut(ctx context.Context, s *session, c *change, p *plan, yes bool) error {
	if c.final && !yes {
		if err := a.announce(p); err != nil {
			return err
		}
		if err := a.confirm(ctx); err != nil {
			return err
		}
	}
	if err := c.apply(s.Client, ctx, p.Path, p.Versions...); err != nil {
		return noSecret(s.explainWrite(ctx, "The versions were not changed.", err), p.Path)
	}
	a.tell("%s %s of %s.", c.done, numbered(p.Versions), p.Path)
	a.tellAfter(c, p)
	return nil
}

// tellAfter says how a deletion is undone, and what it does to those who read.
func (a *app) tellAfter(c *change, p *plan) {
	// Without the metadata only a 0 is known to be the current version.
	current := p.known != nil && slices.Contains(p.Versions, p.known.CurrentVersion) || slices.Contains(p.Versions, 0)
	if current && c.verb != "undelete" {
		a.tell("Reads of %s without a version now find nothing.", p.Path)
	}
	if c.verb == "delete" {
		list := versionList(p.Versions)
		a.tell("To bring back what was deleted: spike secret undelete %s --versions %s", render.ShellWord(p.Path), list.String())
	}
}

// plan is what a change will do: the answer for programs, and what to tell people.
type plan struct {
	Path       string    `json:"path"`
	Versions   []int     `json:"versions"`
	PassedOver []int     `json:"passedOver"`
	known      *metadata // nil when this caller may not read it
	remarks    []string  // about what is passed over
	amiss      bool      // some of what is passed over was never there
}

// plan finds out which versions are meant. The current one is named by its
// number from here on: what was announced is what is changed, even when someone
// writes a new version meanwhile. Whoever may write and not read gets less of an
// announcement, and the same change.
func (s *session) plan(ctx context.Context, c *change, path string, named []int) (*plan, error) {
	p := &plan{Path: path, Versions: []int{}, PassedOver: []int{}}
	res, err := s.SecretMetadata(ctx, path, 0)
	if errors.Is(err, api.ErrUnauthorized) {
		p.Versions = append(p.Versions, named...)
		return p, nil
	}
	if err != nil {
		return nil, noSecret(s.explain(ctx, "The versions were not changed.", err), path)
	}
	p.known = newMetadata(path, &res)
	for _, n := range named {
		if n == 0 {
			n = p.known.CurrentVersion
		}
		state := p.known.where(n)
		switch {
		case slices.Contains(p.Versions, n) || slices.Contains(p.PassedOver, n):
		case slices.Contains(c.from, state):
			p.Versions = append(p.Versions, n)
		default:
			p.PassedOver = append(p.PassedOver, n)
			p.remarks = append(p.remarks, passedOver(n, path, state))
			p.amiss = p.amiss || !slices.Contains(c.reached, state)
		}
	}
	slices.Sort(p.Versions)
	slices.Sort(p.PassedOver)
	return p, nil
}

// passedOver says why nothing is done about a version. Each state has one sentence
// only, since a command meets just those that it cannot change.
func passedOver(number int, path, state string) string {
	is := map[string]string{
		live: "is not deleted", deleted: "is deleted already", destroyed: "was destroyed", gone: "is gone for good",
		"": "was never written",
	}
	return fmt.Sprintf("Version %d of %s %s: passed over.", number, path, is[state])
}

// announce says what will be destroyed, with the times by which a person can tell
// versions from one another. Values are not shown: who destroys a secret need not
// be allowed to see it.
func (a *app) announce(p *plan) error {
	a.tell("This destroys %s of %s. It cannot be undone.", numbered(p.Versions), p.Path)
	if p.known == nil {
		return nil // there is no more to say
	}
	// In order as they are kept. The table goes where the question goes, which is a
	// terminal, but plainly: it is read once.
	meant := slices.DeleteFunc(slices.Clone(p.known.Versions), func(v version) bool { return !slices.Contains(p.Versions, v.Version) })
	if err := writeVersions(a.Err, render.Style{}, meant); err != nil {
		return err
	}
	if slices.Contains(p.Versions, p.known.CurrentVersion) {
		a.tell("Version %d is the current one.", p.known.CurrentVersion)
	}
	return nil
}

// numbered names versions: "version 1", "versions 1, 2 and 4".
func numbered(versions []int) string {
	if len(versions) == 1 && versions[0] == 0 {
		return "the current version"
	}
	names := make([]string, len(versions))
	for i, n := range versions {
		names[i] = strconv.Itoa(n)
		if n == 0 {
			names[i] = "the current one"
		}
	}
	if len(names) == 1 {
		return "version " + names[0]
	}
	end := len(names) - 1
	return "versions " + strings.Join(names[:end], ", ") + " and " + names[end]
}
