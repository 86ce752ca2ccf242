package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

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
		Code: Usage, What: sentence(err.Error()), Err: err,
		Next: []string{"Usage: " + cmd.UseLine(), "Nothing was sent."},
	}
}

// notThere replaces what is said of anything that is not found by what is true
// of a secret. Other failures stay as they are.
func notThere(err error, path string, version int) error {
	var f *Failure
	if !errors.As(err, &f) || f.Code != NotFound {
		return err
	}
	f.What = "There is no secret " + path + "."
	f.Why = "It was never written, or its current version is deleted."
	if version > 0 {
		f.What = fmt.Sprintf("There is no version %d of %s.", version, path)
		f.Why = "There is no such secret, the version was never written, or it is deleted or too old to be kept."
	}
	f.Next = []string{"Which versions there are: spike secret metadata get " + path, "Which secrets: spike secret list"}
	return f
}

// noSecret is notThere for what does not depend on a version.
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
