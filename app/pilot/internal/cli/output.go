package cli

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
)

// format is the value of the flag --output. Being a pflag.Value, it refuses
// another one before a command runs.
type format string

const (
	text       format = "text" // for people: may change from version to version
	jsonFormat format = "json"
	yamlFormat format = "yaml"
)

func (f *format) String() string { return string(*f) }

// Type is what help calls the flag's value.
func (*format) Type() string { return "FORMAT" }

func (f *format) Set(s string) error {
	switch format(s) {
	case text, jsonFormat, yamlFormat:
		*f = format(s)
		return nil
	}
	return errors.New("it is text, json or yaml")
}

// outputFlag adds --output to a command that has an answer for programs too.
// What JSON and YAML look like is in the command's help, and a promise.
func outputFlag(cmd *cobra.Command) *format {
	f := text
	cmd.Flags().VarP(&f, "output", "o", "text, json or yaml")
	complete(cmd, "output", string(text), string(jsonFormat), string(yamlFormat))
	return &f
}

// complete offers values for a flag, which without it would be completed as files.
func complete(cmd *cobra.Command, flag string, values ...string) {
	completeWith(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeWith offers what values returns.
func completeWith(cmd *cobra.Command, flag string, values cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // the caller added the flag a line above
	}
}

// answer prints v for programs, or what people writes for people. JSON and YAML
// come from the same names and order; there is no third form to keep in step. A
// command whose text has nothing for standard output may pass no people.
func (a *app) answer(output format, v any, people func(io.Writer) error) error {
	return a.print(func(w io.Writer) error {
		switch output {
		case jsonFormat:
			return render.JSON(w, v)
		case yamlFormat:
			return render.YAML(w, v)
		}
		return people(w)
	})
}
