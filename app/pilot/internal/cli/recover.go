package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/paper"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/role"
)

// operatorRecover never shows a shard: a terminal has a history and someone behind
// the chair, and a set on one screen is what splitting the key was to avoid.
func (a *app) operatorRecover() *cobra.Command {
	var dir string
	var outs []string
	var force bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Write the recovery shards to files, one each",
		Long: `Write the recovery shards to a folder, each to a file of its own (shard-1.txt and
so on, mode 0600, in a folder that is yours alone). Shards are never shown.

The folder must be new, empty, or, with --force, have an older set and nothing
else. The whole set is written, or nothing changes. What was left beside the folder
when this was cut off before, is named and left alone.

With --out, once for each shard, each goes to a file of its own, such as on a medium
of its own; --force replaces such files. All are looked at before Nexus is asked, and
if one cannot be written, none is. Here, too, what was left beside them is named.

It needs an identity with the role recover.`,
		Example: `  spike operator recover
  spike operator recover --out /mnt/a/1.txt --out /mnt/b/2.txt --out /mnt/c/3.txt`,
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(outs) == 0 {
				return a.recover(cmd, dir, force)
			}
			if cmd.Flags().Changed("dir") {
				return usage(cmd, "--dir is for a folder with all of them, and --out for a file each: use one of the two.")
			}
			return a.recoverOut(cmd.Context(), outs, force)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the `FOLDER` (default SPIKE_PILOT_RECOVERY_DIR, or ~/.spike/recover)")
	cmd.Flags().StringArrayVar(&outs, "out", nil, "a `FILE` for one shard, in the order of their indexes; once for each")
	cmd.Flags().BoolVar(&force, "force", false, "replace an older set that is in the folder, or older files")
	completeWith(cmd, "dir", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
	return cmd
}

// recover writes the set as a whole. Half of one would pass for a set until the day
// when it is needed.
func (a *app) recover(cmd *cobra.Command, dir string, force bool) error {
	ctx := cmd.Context()
	dir, err := a.recoveryDir(dir)
	if err != nil {
		return err
	}
	if err := a.warnLeft(dir); err != nil {
		return explainPaper(err)
	}
	// Shards are not taken out of Nexus unless there is a place for them. The
	// folder is checked again when it is written to.
	if err := paper.CheckFolder(dir, force); err != nil {
		return explainPaper(err)
	}
	set, err := a.fetchSet(ctx)
	if err != nil {
		return err
	}
	defer set.Wipe()
	files, unsettled := paper.Write(dir, set, force)
	if files == nil {
		return explainPaper(unsettled)
	}
	err = a.printFiles(files)
	// The files are there whether or not their names could be printed, so how to keep
	// them is told in any case.
	a.tellWritten(set, `  - Give each file to a different person, and have it kept offline: printed, or
    on a medium of its own.
  - Then delete the files here: shred -u `+render.ShellWord(dir)+"/shard-*.txt")
	if unsettled != nil {
		return explainUnsettled(unsettled)
	}
	return despite("The recovery shards were written.", err)
}

// fetchSet takes the shards out of Nexus. The caller wipes them.
func (a *app) fetchSet(ctx context.Context) (*paper.Set, error) {
	s, err := a.connect(ctx, role.Recover, false)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	res, err := s.OperatorRecover(ctx)
	if err != nil {
		return nil, s.explain(ctx, "No recovery shards were written.", err)
	}
	// Names from the wire go into files that people open, so they are cleaned as well.
	// The set shares its map with the answer, so both are wiped.
	return &paper.Set{
		Cluster: render.Clean(res.Cluster), KeyID: render.Clean(res.KeyID),
		Threshold: res.Threshold, Made: time.Now(), Shards: res.Shards,
	}, nil
}

func (a *app) printFiles(files []string) error {
	return a.print(func(w io.Writer) error {
		for _, file := range files {
			if _, err := fmt.Fprintln(w, file); err != nil {
				return err
			}
		}
		return nil
	})
}

// tellWritten says what a set is worth, and how it is kept.
func (a *app) tellWritten(set *paper.Set, keep string) {
	needed := "As many as the cluster's threshold"
	if set.Threshold > 0 {
		needed = fmt.Sprintf("Any %d", set.Threshold)
	}
	a.tell(`
Wrote %s of the cluster %s, key %s.
%s of them, together with the cluster's data, are every secret in it.

%s
  - To bring the cluster back, each holder runs: spike operator restore`,
		render.Count(len(set.Shards), "recovery shard"), set.Cluster, set.KeyID, needed, keep)
}

// warnLeft names what runs have left behind that were cut off. It is told first, as
// it holds whether or not a set is written now.
func (a *app) warnLeft(dir string) error {
	folders, err := paper.Leftovers(dir)
	if len(folders) == 0 {
		return err
	}
	var list, files, quoted string
	for _, folder := range folders {
		list += "\n  " + render.Clean(folder)
		quoted += " " + render.ShellWord(folder)
		files += " " + render.ShellWord(folder) + "/*"
	}
	a.tell(`Warning: when recovery shards were written here before, that was cut off. Some may
have been left, and are as good as any others:%s
If no other "spike operator recover" runs now, remove them:
  shred -u%s; rmdir%s`, list, files, quoted)
	return err
}

// recoveryDir returns the folder as an absolute path, so that what is told of it
// holds in any other folder.
func (a *app) recoveryDir(flag string) (string, error) {
	if flag == "" {
		dir, err := a.RecoveryDir()
		if err != nil {
			return "", &Failure{
				Code: Usage, What: "There is no folder for the recovery shards.", Why: err.Error(),
				Next: []string{"Name one: spike operator recover --dir FOLDER"}, Err: err,
			}
		}
		return dir, nil
	}
	dir, err := filepath.Abs(flag)
	if err != nil {
		return "", &Failure{Code: Usage, What: "The folder cannot be used.", Why: err.Error(), Err: err}
	}
	return dir, nil
}

// explainUnsettled is for a set that is in its place, and something that could not be
// done after that.
func explainUnsettled(err error) error {
	f := &Failure{
		Code: Failed, What: "The recovery shards were written, but that could not be brought to its end.",
		Why: render.Sentence(err.Error()), Err: err, Next: []string{"The files are whole and can be used."},
	}
	if errors.Is(err, paper.ErrLeft) {
		f.Next = append(f.Next, "Remove what was left, with shred -u: those are shards, too.")
	} else {
		f.Next = append(f.Next, "Once the disk is in order, write the folder to it: sync")
	}
	return f
}

// explainPaper says why a folder was not written to. The folder is as it was.
func explainPaper(err error) error {
	f := &Failure{Code: Failed, What: "No recovery shards were written.", Why: render.Sentence(err.Error()), Err: err}
	switch {
	case errors.Is(err, paper.ErrLeft):
		f.What = "The recovery shards were not put into their place."
		f.Next = []string{"Remove what was left, with shred -u, and try again: those are shards, too."}
	case errors.Is(err, paper.ErrOlderSet):
		f.Code = Conflict
		f.Next = []string{
			"If that set is still good, there is nothing to do.",
			"To replace it: spike operator recover --force. To keep both: --dir ANOTHER-FOLDER.",
		}
	case errors.Is(err, paper.ErrFolder):
		f.Next = []string{"Name another folder: spike operator recover --dir FOLDER"}
	}
	return f
}
