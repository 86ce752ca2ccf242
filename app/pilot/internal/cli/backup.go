package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) operatorBackup() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "backup COMMAND",
		Short: "Copy a cluster's store to a file, check it, and load it",
		Long: `Copy a cluster's store to a file, check such a file, and load it into a Nexus that
has no cluster.

A backup is as sealed as the store is: it opens nothing without the Keepers or
enough recovery shards. Keep it apart from those.`,
	})
	cmd.AddCommand(a.backupCreate(), a.backupVerify(), a.backupLoad())
	return cmd
}

// backupAnswer is what create and verify print.
type backupAnswer struct {
	File string `json:"file"`
	backup.Head
}

const backupAnswerHelp = `

With -o json or yaml the answer is an object: file; and what the backup says of
itself: format, cluster, keyId, threshold, shards, created, epoch, sequence,
secrets, and size, the store's in bytes.`

func (a *app) backupCreate() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Copy the store to a file, while Nexus serves",
		Long: `Copy the store to FILE (mode 0600), as of one commit, while Nexus serves. The file
is there whole and checked, or not at all. An older one is not replaced without
--force. What was left beside it when this was killed before, is named and left alone.

It needs an identity with the role superuser.` + backupAnswerHelp,
		Example: `  spike operator backup create /mnt/backup/spike-monday`,
		Args:    arguments(1, 1, "a file"),
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.createBackup(cmd.Context(), args[0], force, *output)
	}
	return cmd
}

func (a *app) createBackup(ctx context.Context, name string, force bool, output format) (err error) {
	const nothing = "No backup was made."
	path, err := filepath.Abs(name)
	if err != nil {
		return fileTrouble(nothing, err)
	}
	if err := a.warnParts(path); err != nil {
		return fileTrouble(nothing, err)
	}
	// Nexus is not asked for what there is no place for.
	file, err := newfile.Create(path, force)
	if err != nil {
		return fileTrouble(nothing, err)
	}
	defer func() {
		if aborted := file.Abort(); aborted != nil && err == nil {
			err = fileTrouble(nothing, aborted)
		}
	}()
	s, err := a.connect(ctx, role.Superuser, false)
	if err != nil {
		return err
	}
	defer s.Close()
	out := &meter{to: file, show: a.progress("received")}
	head, err := s.OperatorBackup(ctx, out)
	out.show.end()
	switch {
	case out.err != nil:
		return fileTrouble(nothing, out.err)
	case errors.Is(err, api.ErrNoRoom):
		return &Failure{
			Code: Failed, What: nothing, Err: err,
			Why:  "Nexus makes a copy of its store first, and the disk of its data folder has no room for one.",
			Next: []string{"Make room there; Nexus goes on as it is."},
		}
	case err != nil:
		return s.explain(ctx, nothing, err)
	}
	if err := file.Commit(); err != nil {
		return uncommitted(nothing, "The backup was made", path, err)
	}
	return despite("The backup was made.", a.showBackup(a.style(s.config), path, &head, output))
}

func (a *app) backupVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say whether a backup is whole, and what it is of",
		Long: `Say whether a backup is whole, for which cluster and key, from when, and how many
secrets are in it. It needs no Nexus and no identity.

That the file is the one that Nexus made is found out when it is opened: every
row in it is sealed.` + backupAnswerHelp,
		Example: `  spike operator backup verify /mnt/backup/spike-monday`,
		Args:    arguments(1, 1, "a file"),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, err := os.Open(args[0])
		if err != nil {
			return fileTrouble("The backup was not checked.", err)
		}
		// It is only read, so that nothing can go wrong here.
		defer func() { _ = file.Close() }()
		head, err := a.verify(cmd.Context(), file)
		if err != nil {
			return badBackup("The backup is of no use.", args[0], err)
		}
		return a.showBackup(render.Style{}, args[0], &head, *output)
	}
	return cmd
}

// verify reads the whole of a backup.
func (a *app) verify(ctx context.Context, from io.Reader) (backup.Head, error) {
	in := &meter{from: from, show: a.progress("checked"), ctx: ctx}
	defer in.show.end()
	return backup.Verify(in)
}

func (a *app) backupLoad() *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE",
		Short: "Load a backup into a Nexus that has no cluster",
		Long: `Load a backup into a Nexus that has no cluster. It is locked then, and opens when
Keepers have their shares of the backup's key, or people feed in recovery shards.

It is refused where there is a cluster already, and while a Keeper holds a share
of another one. The file is checked before anything is sent.

It needs an identity with the role superuser.`,
		Example: `  spike operator backup load /mnt/backup/spike-monday`,
		Args:    arguments(1, 1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.loadBackup(cmd.Context(), args[0])
		},
	}
}

func (a *app) loadBackup(ctx context.Context, name string) error {
	const nothing = "No backup was loaded."
	file, err := os.Open(name)
	if err != nil {
		return fileTrouble(nothing, err)
	}
	// It is only read, so that nothing can go wrong here.
	defer func() { _ = file.Close() }()
	head, err := a.verify(ctx, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return badBackup(nothing, name, err)
	}
	s, err := a.connect(ctx, role.Superuser, false)
	if err != nil {
		return err
	}
	defer s.Close()
	in := &meter{from: file, show: a.progress("sent"), ctx: ctx}
	res, err := s.OperatorLoad(ctx, in)
	in.show.end()
	if err != nil {
		return s.explainLoad(ctx, &head, err)
	}
	err = a.print(func(w io.Writer) error {
		return render.Fields(w, a.style(s.config), backupFields(name, &head)...)
	})
	a.tell(`
The backup is loaded, and Nexus is locked. If enough Keepers still have their
shares, it opens by itself. If not, %d of the %s of this key open it;
with an identity of the role restore:
  spike operator restore
How it stands: spike operator status`, res.Threshold, render.Count(res.Shards, "recovery shard"))
	return despite("The backup was loaded.", err)
}

// explainLoad says why a backup was not loaded.
func (s *session) explainLoad(ctx context.Context, head *backup.Head, err error) error {
	const nothing = "No backup was loaded."
	f := &Failure{Code: Failed, What: nothing, Err: err}
	switch {
	case errors.Is(err, api.ErrAlreadyInitialized):
		f.Code = Conflict
		f.Why = "This Nexus has a cluster already; nothing was changed."
		f.Next = []string{
			"Its state: spike operator status",
			"To give it the backup instead: stop Nexus, move its data folder away, start it, and load again.",
		}
	case errors.Is(err, api.ErrKeeperHoldsShare):
		f.Code = Conflict
		f.Why = "A Keeper holds a share of another cluster than the backup's, " + render.Clean(head.Cluster) + ": is this the right Nexus?" +
			s.keepersWhere(ctx, func(k *api.KeeperStatus) bool { return k.Holds == api.HoldsForeign })
		f.Next = []string{
			"Do its Keepers belong to a cluster that lives? Then this Nexus needs others: SPIKE_NEXUS_KEEPER_PEERS",
			"If that cluster is no more, restart those Keepers, which empties them, and run this again.",
			lyingKeeper,
		}
	case errors.Is(err, api.ErrBackupInvalid):
		f.Why = "The file is whole, but Nexus cannot read the store in it; its log says why."
		f.Next = []string{"Compare the versions of spike and nexus: spike --version, nexus --version. Or take another backup."}
	case errors.Is(err, api.ErrNoRoom):
		f.Why = "The disk of Nexus's data folder has no room for it."
		f.Next = []string{"Make room there, and run this again."}
	default:
		return s.explainWrite(ctx, nothing, err)
	}
	return f
}

// showBackup prints what a backup says of itself.
func (a *app) showBackup(style render.Style, file string, h *backup.Head, output format) error {
	return a.answer(output, backupAnswer{file, *h}, func(w io.Writer) error {
		return render.Fields(w, style, backupFields(file, h)...)
	})
}

// backupFields is what create, verify and load show of a backup, so that people can
// compare one with another.
func backupFields(file string, h *backup.Head) []render.Field {
	return []render.Field{
		{Name: "File", Value: render.Clean(file)},
		{Name: "Cluster", Value: render.Clean(h.Cluster)},
		{Name: "Key", Value: render.Clean(h.KeyID)},
		{Name: "Opened by", Value: fmt.Sprintf("%d of %s", h.Threshold, render.Count(h.Shards, "recovery shard"))},
		{Name: "Made", Value: h.Created.UTC().Format(time.RFC3339)},
		{Name: "Commit", Value: fmt.Sprintf("%d of epoch %d", h.Sequence, h.Epoch)},
		{Name: "Secrets", Value: fmt.Sprint(h.Secrets)},
		{Name: "Size", Value: amount(h.Size)},
	}
}

// badBackup explains what is wrong with a backup.
func badBackup(what, file string, err error) error {
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	f := &Failure{Code: Failed, What: what, Why: render.Clean(file) + ": " + err.Error() + ".", Err: err}
	switch {
	case errors.Is(err, backup.ErrNoBackup):
		f.Code = Usage
		f.Next = []string{"A backup is a file that this has made: spike operator backup create FILE"}
	case errors.Is(err, backup.ErrCut), errors.Is(err, backup.ErrDamaged):
		f.Next = []string{"Take another copy of this backup, or an older backup."}
	}
	return f
}
