package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spiffe/spike/app/pilot/internal/nearest"
	"github.com/spiffe/spike/app/pilot/internal/render"
)

// usage returns a failure of the one who typed the command. The caller sees to it
// that args repeat nothing that may be a secret in a wrong place.
func usage(cmd *cobra.Command, format string, args ...any) *Failure {
	return &Failure{
		Code: Usage,
		What: fmt.Sprintf(format, args...),
		Next: []string{"Usage: " + cmd.UseLine(), "More: " + cmd.CommandPath() + " --help"},
	}
}

// arguments demands between low and high arguments; high below zero is any
// number. An argument is never repeated: it may be a secret in a wrong place.
func arguments(low, high int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < low:
			return usage(cmd, "An argument is missing: %s takes %s.", cmd.CommandPath(), want)
		case high >= 0 && len(args) > high:
			are := "There are"
			if len(args) == 1 {
				are = "There is"
			}
			return usage(cmd, "%s %s, and %s takes %s.", are, render.Count(len(args), "argument"), cmd.CommandPath(), want)
		}
		return nil
	}
}

// none refuses any argument. Cobra's own would repeat it.
func none() cobra.PositionalArgs { return arguments(0, 0, "none") }

// group makes cmd a command that has others and does nothing by itself. Cobra
// would show its help for any word that follows, and call that a success.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(cmd, "%s needs a command: %s.", cmd.CommandPath(), strings.Join(names(cmd), ", "))
		}
		return unknown(cmd, args[0])
	}
	return cmd
}

// unknown says which commands there are, and which one is close to word. A word that
// is not like any is not repeated: it may be a secret in a wrong place.
func unknown(cmd *cobra.Command, word string) error {
	f := &Failure{
		Code: Usage, What: cmd.CommandPath() + " has no such command.",
		Why: "Its commands are: " + strings.Join(names(cmd), ", ") + ".",
	}
	if close := cmd.SuggestionsFor(word); len(close) > 0 {
		f.What = fmt.Sprintf("%s has no command %q.", cmd.CommandPath(), word)
		f.Next = append(f.Next, "Did you mean: "+cmd.CommandPath()+" "+strings.Join(close, ", ")+"?")
	}
	f.Next = append(f.Next, "More: "+cmd.CommandPath()+" --help")
	return f
}

// names lists the commands below cmd that a person may type. Cobra counts help, as
// the one who makes it, among the hidden.
func names(cmd *cobra.Command) []string {
	var list []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			list = append(list, c.Name())
		}
	}
	slices.Sort(list)
	return list
}

// flagError says what is wrong with a flag without repeating what may be a
// value that begins with a dash.
func flagError(cmd *cobra.Command, err error) error {
	var unknownFlag *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var badValue *pflag.InvalidValueError
	switch {
	// Only the first letter of a short one is told: the rest may be a password.
	case errors.As(err, &unknownFlag) && unknownFlag.GetSpecifiedShortnames() != "":
		return usage(cmd, "There is no flag -%s. (A value that begins with a dash goes after --.)",
			unknownFlag.GetSpecifiedName())
	case errors.As(err, &unknownFlag):
		return noFlag(cmd, unknownFlag.GetSpecifiedName())
	case errors.As(err, &noValue):
		return usage(cmd, "The flag --%s needs a value.", noValue.GetFlag().Name)
	case errors.As(err, &badValue):
		flag := badValue.GetFlag()
		if takes := map[string]string{"bool": "true or false", "int": "a whole number", "int64": "a whole number"}[flag.Value.Type()]; takes != "" {
			return usage(cmd, "The flag --%s takes %s.", flag.Name, takes)
		}
		return usage(cmd, "The flag --%s cannot be %q: %v.", flag.Name, badValue.GetValue(), errors.Unwrap(badValue))
	}
	return usage(cmd, "A flag is malformed.")
}

// noFlag says which flag was probably meant. A name that is like none, and no plain
// word, may be a password that begins with two dashes.
func noFlag(cmd *cobra.Command, name string) error {
	var all []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { all = append(all, f.Name) })
	meant := nearest.Of(name, all)
	if meant == "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return usage(cmd, "There is no such flag. (A value that begins with a dash goes after --.)")
	}
	f := usage(cmd, "There is no flag --%s.", name)
	if meant != "" {
		f.Next = append([]string{"Did you mean: --" + meant + "?"}, f.Next...)
	}
	return f
}

// helpCommand replaces cobra's, which calls an unknown topic a success.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND…]",
		Short:             "Explain a command",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			found := cmd.Root()
			for _, word := range args {
				i := slices.IndexFunc(found.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
				if i < 0 {
					return unknown(found, word)
				}
				found = found.Commands()[i]
			}
			// A command that was not run has not got these flags yet.
			found.InitDefaultHelpFlag()
			found.InitDefaultVersionFlag()
			return found.Help()
		},
	}
}
