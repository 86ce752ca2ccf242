package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
)

// secret has the commands that workloads use as well as people.
func (a *app) secret() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "secret COMMAND",
		Short: "Write, read, list and delete secrets",
	})
	cmd.AddCommand(
		a.secretPut(), a.secretGet(), a.secretList(), a.secretMetadata(),
		a.secretDelete(), a.secretUndelete(), a.secretDestroy(),
	)
	return cmd
}

// usageFrom makes a sentence of a local check's error. Nothing was sent.
func usageFrom(cmd *cobra.Command, err error) *Failure {
	return &Failure{
		Code: Usage, What: render.Sentence(err.Error()), Err: err,
		Next: []string{"Usage: " + cmd.UseLine(), "Nothing was sent."},
	}
}

// explainGet says what of a secret is not there: the path, or a version of it.
// Whoever may read a secret may read its metadata, so Nexus is asked once more.
func (s *session) explainGet(ctx context.Context, path string, version int, err error) error {
	explained := s.explain(ctx, "The secret was not read.", err)
	var f *Failure
	if !errors.As(explained, &f) || f.Code != NotFound {
		return explained
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := s.SecretMetadata(ctx, path, 0)
	if errors.Is(err, api.ErrNotFound) {
		return noSecret(explained, path)
	}
	f.Next = []string{"Which versions there are: spike secret metadata get " + render.ShellWord(path)}
	if err != nil {
		// Allowed to read and not this: a Nexus whose rules changed in between, or gone.
		// It was asked to explain another failure, and that one is told.
		f.What, f.Why = "There is no such secret, or no such version of it.", ""
		return f
	}
	// What has changed since the first answer cannot be told from what was so then; in
	// the worst case the advice is a moment too new.
	m := newMetadata(path, &res)
	current := version == 0
	if current {
		version = m.CurrentVersion
	}
	f.What = fmt.Sprintf("Version %d of %s is not there.", version, path)
	switch m.where(version) {
	case deleted:
		f.What = fmt.Sprintf("Version %d of %s is deleted.", version, path)
		f.Why = ""
		f.Next = append([]string{fmt.Sprintf("To bring it back: spike secret undelete %s --versions %d", render.ShellWord(path), version)}, f.Next...)
	case destroyed, gone:
		f.Why = "It was destroyed, or was too old to be kept."
	case "":
		f.Why = "It was never written."
	default:
		f.Why = "It came back meanwhile: try again."
	}
	if current {
		f.Why = joined("It is the current one. A read without --version never falls back to an older one.", f.Why)
	}
	return f
}

// noSecret replaces what is said of anything that is not found by what is true of
// a secret. Other failures stay as they are.
func noSecret(err error, path string) error {
	var f *Failure
	if !errors.As(err, &f) || f.Code != NotFound {
		return err
	}
	f.What = "There is no secret " + path + "."
	f.Why = "It was never written."
	f.Next = []string{"What there is: spike secret list"}
	return f
}
