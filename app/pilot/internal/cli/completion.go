package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/completion"
)

// completion takes the place of cobra's own command. The scripts of that one run what
// is typed, leave out quotes, and write into the line when something is missing.
func (a *app) completion() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "completion SHELL",
		Short: "Write the script by which a shell completes commands",
		Long: `Write the script by which a shell completes the commands of spike: their names and
flags, the paths of secrets that you may list, the versions that they have, and
the files that values come from.

Paths come from Nexus each time that the tab key is pressed. When it does not
answer within a second, or you have no identity, no path is offered.`,
	})
	cmd.AddCommand(
		a.completionFor(&cobra.Command{
			Use:   "bash",
			Short: "Write the script for bash",
			Long: `Write the script for bash 4.4 and newer. It needs no other package.

For the shell that runs:

  source <(spike completion bash)

For every new one, add that line to ~/.bashrc.`,
		}),
		a.completionFor(&cobra.Command{
			Use:   "fish",
			Short: "Write the script for fish",
			Long: `Write the script for fish 3.1 and newer.

For the shell that runs:

  spike completion fish | source

For every new one:

  spike completion fish >~/.config/fish/completions/spike.fish`,
		}),
		a.completionFor(&cobra.Command{
			Use:   "zsh",
			Short: "Write the script for zsh",
			Long: `Write the script for zsh. Its own completion must have been started:

  autoload -U compinit; compinit

For the shell that runs:

  source <(spike completion zsh)

For every new one, add these lines to ~/.zshrc.`,
		}),
	)
	return cmd
}

// completionFor adds to the command of a shell what writes its script.
func (a *app) completionFor(cmd *cobra.Command) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = none(), cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		script, err := completion.Script(cmd.Name())
		if err != nil {
			return err
		}
		return a.print(func(w io.Writer) error {
			_, err := w.Write(script)
			return err
		})
	}
	return cmd
}
