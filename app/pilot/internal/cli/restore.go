package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/paper"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
)

// operatorRestore takes no shard as an argument: the list of processes would have it.
func (a *app) operatorRestore() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Feed in a recovery shard, to bring a locked cluster back",
		Long: `Feed a recovery shard in. When enough are collected, Nexus opens.

A shard is the line spike:INDEX:HEX:CLUSTER:KEY:CHECK. It is read from a hidden
prompt on a terminal, and from standard input otherwise; empty lines and lines
that begin with # are passed over, so a whole shard file can be given. With
--file, which can be repeated, it is read from files instead. A shard that is
refused does not count, and does no harm.

Before anything is sent, a line that was mistyped is found by its check, shards of
different clusters or keys are refused, and what each is of is told. A line
spike:INDEX:HEX has no check and does not tell; it is sent as it is.

It needs an identity with the role restore.`,
		Example: `  spike operator restore
  spike operator restore < shard-1.txt
  spike operator restore --file shard-1.txt --file shard-2.txt`,
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.restore(cmd, files)
		},
	}
	cmd.Flags().StringArrayVar(&files, "file", nil, "a `FILE` with a shard; can be repeated")
	return cmd
}

// restore wipes what it read however it ends.
func (a *app) restore(cmd *cobra.Command, files []string) error {
	ctx := cmd.Context()
	// Nobody is asked for a shard that could not be sent, and a file is looked at
	// before anything else is done.
	shards, err := readShards(files)
	defer func() { paper.Wipe(shards) }()
	if err != nil {
		return notAShard(err)
	}
	s, err := a.connect(ctx, role.Restore, false)
	if err != nil {
		return err
	}
	defer s.Close()
	if len(files) == 0 {
		shards, err = a.askForShards(ctx)
		if errors.Is(err, context.Canceled) {
			return interrupted(err)
		}
		if err != nil {
			return notAShard(err)
		}
	}
	a.tellOrigins(shards)
	return a.feed(ctx, s, shards)
}

// tellOrigins says what each shard is of, so that a holder can stop before more are
// fed into a cluster that was not meant.
func (a *app) tellOrigins(shards []paper.Shard) {
	for i := range shards {
		s := &shards[i]
		switch {
		case s.Cluster == "" && s.KeyID == "":
			a.tell("Shard %d (from %s) does not say which cluster it is of.", s.Index, s.From)
		default:
			a.tell("Shard %d (from %s) is of the cluster %s, key %s.", s.Index, s.From,
				render.Clean(cmp.Or(s.Cluster, "(not said)")), render.Clean(cmp.Or(s.KeyID, "(not said)")))
		}
	}
}

// readShards reads all files before any shard is sent. What was read before an
// error is returned as well, to be wiped.
func readShards(files []string) (shards []paper.Shard, err error) {
	for i, file := range files {
		more, err := paper.ReadFile(file)
		shards = append(shards, more...)
		if err != nil && !errors.Is(err, shard.ErrFormat) {
			err = fmt.Errorf("the file of --file number %d: %w", i+1, err) // it is not named otherwise
		}
		if err != nil {
			return shards, err
		}
	}
	return shards, paper.Alike(shards)
}

// askForShards reads standard input: one shard from a person, who holds no more,
// or any number from a pipe.
func (a *app) askForShards(ctx context.Context) ([]paper.Shard, error) {
	if !terminal.Is(a.In) {
		shards, err := paper.Read(terminal.Reader(ctx, a.In), "standard input")
		return shards, cmp.Or(err, paper.Alike(shards))
	}
	const longest = 256
	// A whole file can be pasted: its head is taken note of and passed over.
	var head paper.Head
	line, err := terminal.ReadHidden(ctx, a.In, a.Err, "Recovery shard (not shown): ", longest, func(line []byte) bool {
		head.Note(line)
		return paper.Skip(line)
	})
	if err != nil {
		return nil, err
	}
	defer clear(line)
	s := paper.Shard{Head: head, Value: new(shard.Value), From: "the terminal"}
	if err := s.Take(line); err != nil {
		return nil, err
	}
	return []paper.Shard{s}, nil
}

// notAShard is for input that never left this program.
func notAShard(err error) error {
	f := &Failure{
		Code: Usage, What: "There is no shard that could be sent.", Why: render.Sentence(err.Error()), Err: err,
		Next: []string{"A shard is a line such as spike:1:… with 64 hex digits, in the file that spike operator recover wrote.", "Nothing was sent."},
	}
	switch {
	case errors.Is(err, shard.ErrCheck):
		f.Next = []string{"Compare it with the original, character by character, and try again. Nothing was sent."}
	case errors.Is(err, paper.ErrMixed):
		f.What = "The shards do not belong together."
		f.Next = []string{"Feed in those of one cluster and one key. Which they are of, the head of each file says. Nothing was sent."}
	case !errors.Is(err, shard.ErrFormat):
		f.Next = []string{"--file takes a file's name, and not the shard itself. Nothing was sent."}
	}
	return f
}

// feed sends the shards one after the other. One that is refused does not keep
// the others from being sent.
func (a *app) feed(ctx context.Context, s *session, shards []paper.Shard) error {
	// What is missing is known once Nexus has taken one; until then it is "more".
	refused, missing, code := 0, "More are", Failed
	for i := range shards {
		given := &shards[i]
		res, err := s.OperatorRestore(ctx, api.OperatorRestoreRequest{
			ID: given.Index, Shard: *given.Value, Strict: true, Cluster: given.Cluster, KeyID: given.KeyID,
		})
		switch {
		case err == nil && res.Restored && res.Behind:
			// The holders have done their part; it is no failure of theirs.
			a.tell("The root key is there, but the store is behind what the Keepers were told: nothing is served until a superuser has looked at spike operator status.\nNo more shards are needed.")
			return nil
		// An open Nexus looks at no shard, and counts none.
		case err == nil && res.Restored && res.Collected == 0:
			a.tell("Nexus is open already: it has its root key. The shard was not looked at, and no more are needed.")
			return nil
		case err == nil && res.Restored:
			a.tell("Shard %d was accepted and completes the set of %d. Nexus is open: it has its root key.", given.Index, res.Collected)
			return nil
		case err == nil:
			a.tell("Shard %d was accepted: %d collected, %d more needed.", given.Index, res.Collected, res.Remaining)
			missing = render.Count(res.Remaining, "more shard") + " still"
			continue
		}
		// A shard that is refused is told at once, since its holder may be standing by.
		// What concerns all of them, such as an identity that is not allowed, ends it.
		explained := s.explainRestore(ctx, given, err)
		var f *Failure
		if len(shards) == 1 || !isRefusal(err) || !errors.As(explained, &f) {
			return explained
		}
		Report(a.Err, explained)
		refused, code = refused+1, f.Code
	}
	// Some may have counted; what is told last is what is left to do.
	if refused > 0 {
		return &Failure{
			Code: code,
			What: fmt.Sprintf("Refused: %d of %d shards. %s needed.", refused, len(shards), missing),
			Next: []string{"Have the missing ones fed in: spike operator restore"},
		}
	}
	a.tell("Nexus stays locked until then. The next holder runs: spike operator restore")
	return nil
}

// isRefusal reports whether err is about this shard, and not about all.
func isRefusal(err error) bool {
	for _, refusal := range []error{api.ErrShardCorrupt, api.ErrShardForeign, api.ErrShardStale, api.ErrShardDuplicate} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// explainRestore says why a shard was refused. The shard itself is never shown;
// its index and where it was read are enough to find it.
func (s *session) explainRestore(ctx context.Context, given *paper.Shard, err error) error {
	f := &Failure{
		Code: Failed, Err: err,
		What: fmt.Sprintf("Shard %d (from %s) was refused, and does not count.", given.Index, given.From),
	}
	switch {
	case errors.Is(err, api.ErrShardCorrupt):
		f.Why = "It is not what was handed out under this index: a digit, or the index, is wrong."
		if given.Cluster == "" {
			f.Why += "\nOr it belongs to another cluster or an older key, which its line alone does not tell."
		}
		f.Next = []string{"Compare it with the original, digit by digit, and try again."}
	case errors.Is(err, api.ErrShardForeign):
		f.Why = "It belongs to another cluster."
		f.Next = []string{"The head of a shard file names its cluster. Does SPIKE_NEXUS_API_URL point at the right Nexus?"}
	case errors.Is(err, api.ErrShardStale):
		f.Why = "It belongs to a root key that is no longer in use."
		f.Next = []string{"Look for the newer set, which was exported after the root key changed."}
	case errors.Is(err, api.ErrShardDuplicate):
		f.Code = Conflict
		f.Why = "The same shard was fed in before; each counts once."
		f.Next = []string{"Another holder's shard is needed."}
	// It is no shard's fault, and more of them do not help.
	case errors.Is(err, api.ErrStoreMismatch):
		f.Code = Conflict
		f.What = fmt.Sprintf("Shard %d (from %s) completes the set, but the set does not open this store.", given.Index, given.From)
		f.Why = "Each shard is the one that was handed out. The header of Nexus's store was changed, so that they do not make the root key that it wants."
		f.Next = []string{"No shard is to blame, and all are still good: keep them.", otherStore}
	// Not a word about the shard: Nexus did not look at it.
	case errors.Is(err, api.ErrTooManyAttempts):
		f.What = strings.Replace(f.What, "was refused", "was not looked at", 1)
		f.Why = "There were too many attempts within a minute."
		f.Next = []string{"Wait a minute and try again. What was collected is still there."}
	default:
		return s.explainWrite(ctx, "The shard was not fed in.", err)
	}
	return f
}
