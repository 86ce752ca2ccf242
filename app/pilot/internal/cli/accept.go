package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) operatorAccept() *cobra.Command {
	var sequence int64
	var yes bool
	cmd := &cobra.Command{
		Use:   "accept --sequence N",
		Short: "Serve a store that was put back to an earlier state",
		Long: `Serve a store that is behind what a Keeper was told of it: an older copy in the
place of the database, or one that has lost its last commits. Nexus serves nothing
until this is done. What was written after that state is lost.

N is the commit that the store is at, as "spike operator status" shows it. It says
what is lost and asks. For scripts there is --yes: where there is no terminal,
nothing is accepted without it.

It needs an identity with the role superuser.`,
		Example: `  spike operator status
  spike operator accept --sequence 1234`,
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().Int64Var(&sequence, "sequence", 0, "the commit that the store is at")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if sequence < 1 {
			return usage(cmd, "The commit that the store is at must be named: --sequence.")
		}
		if !yes && !a.interactive() {
			return &Failure{
				Code: Usage, What: fmt.Sprintf("To accept a store that is behind cannot be undone, and %v.", errNoTerminal),
				Next: []string{"If it is meant, say so: --yes. Nothing was sent."},
			}
		}
		return a.accept(cmd.Context(), sequence, yes)
	}
	return cmd
}

func (a *app) accept(ctx context.Context, sequence int64, yes bool) error {
	s, err := a.connect(ctx, role.Superuser, false)
	if err != nil {
		return err
	}
	defer s.Close()
	status, err := s.status(ctx)
	if err != nil {
		return s.explain(ctx, "Nothing was accepted.", err)
	}
	if status.Behind == nil {
		return notBehind(&status)
	}
	if status.Behind.Sequence != sequence {
		return otherSequence(sequence, status.Behind.Sequence, nil)
	}
	a.tell("%s", lost(status.Behind))
	if !yes {
		if err := a.confirm(ctx); err != nil {
			return err
		}
	}
	res, err := s.OperatorAccept(ctx, sequence)
	switch {
	case errors.Is(err, api.ErrNotBehind):
		return notBehind(&status)
	case errors.Is(err, api.ErrVersionConflict):
		return otherSequence(sequence, status.Behind.Sequence, err)
	case err != nil:
		return s.explainWrite(ctx, "Nothing was accepted.", err)
	}
	err = a.print(func(w io.Writer) error {
		return render.Fields(w, a.style(s.config),
			render.Field{Name: "Accepted", Value: "commit " + strconv.FormatInt(sequence, 10)},
			render.Field{Name: "Lost", Value: lostShort(res.Behind)},
		)
	})
	a.tell("\nNexus is open, and the Keepers are told of a new epoch. Tell those who wrote after\nthat state: what they were answered is no longer true.")
	return despite("The store was accepted.", err)
}

// lost says what is given up by accepting.
func lost(b *api.OperatorRollback) string {
	const rest = "\nOnce it is accepted, nothing brings them back into this store. If you have a newer\ncopy of the data folder, or a newer backup, use that instead."
	switch {
	case b.Epoch == b.ToldEpoch && b.Sequence == b.ToldSequence:
		return fmt.Sprintf("The store is at commit %d, as a Keeper was told, but its content is another one: it and\n"+
			"the store that was served have parted before that. What was written there since they\nparted is lost.", b.Sequence)
	case b.Epoch == b.ToldEpoch:
		return fmt.Sprintf("The store is at commit %d. A Keeper was told commit %d: at least %s are lost,\n"+
			"those after commit %d. (The last second before the end may not have been told.)",
			b.Sequence, b.ToldSequence, render.Count(int(b.ToldSequence-b.Sequence), "commit"), b.Sequence) + rest
	}
	return fmt.Sprintf("The store is at commit %d of epoch %d. A Keeper was told commit %d of epoch %d: an\n"+
		"earlier state was accepted since this one was written, and all commits since then are lost.",
		b.Sequence, b.Epoch, b.ToldSequence, b.ToldEpoch) + rest
}

func lostShort(b *api.OperatorRollback) string {
	if b == nil || b.Epoch != b.ToldEpoch || b.Sequence >= b.ToldSequence {
		return "all commits since the two have parted"
	}
	return fmt.Sprintf("%s or more", render.Count(int(b.ToldSequence-b.Sequence), "commit"))
}

func notBehind(status *api.OperatorStatusResponse) error {
	return &Failure{
		Code: Conflict, What: "There is nothing to accept.",
		Why:  fmt.Sprintf("Nexus is %s; its store is not behind what a Keeper was told of it.", render.Clean(status.State)),
		Next: []string{"More: spike operator status"}, Err: api.ErrNotBehind,
	}
}

func otherSequence(named, is int64, err error) error {
	return &Failure{
		Code: Conflict, What: "Nothing was accepted.",
		Why:  fmt.Sprintf("The store is at commit %d, and not at %d: it is not the state that you have looked at.", is, named),
		Next: []string{"Look again: spike operator status"}, Err: err,
	}
}
