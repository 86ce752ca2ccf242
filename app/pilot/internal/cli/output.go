package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// format is the value of the flag --output. Being a pflag.Value, it refuses
// another one before a command runs.
type format string

const (
	text       format = "text"
	jsonFormat format = "json"
)

func (f *format) String() string { return string(*f) }

// Type is what help calls the flag's value.
func (*format) Type() string { return "FORMAT" }

func (f *format) Set(s string) error {
	switch format(s) {
	case text, jsonFormat:
		*f = format(s)
		return nil
	}
	return errors.New("it is text or json")
}

// outputFlag adds --output to a command that has an answer for programs too.
func outputFlag(cmd *cobra.Command) *format {
	f := text
	cmd.Flags().VarP(&f, "output", "o", "text or json")
	complete(cmd, "output", string(text), string(jsonFormat))
	return &f
}

// complete offers values for a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added a line above
	}
}
