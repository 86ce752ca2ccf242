// Package cli is Pilot's commands.
package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/role"
)

// Config is what commands that talk to Nexus need.
type Config struct {
	NexusURL        *url.URL
	WorkloadAPI     string // empty when it is not set
	Roles           role.Domains
	IdentityTimeout time.Duration
	NoColor         bool
}

// Deps is what the commands get from outside.
type Deps struct {
	Version      string
	In, Out, Err *os.File
	// Config and RecoveryDir read the environment. They are called when a command
	// needs them, so that help and completion work anywhere.
	Config      func() (Config, error)
	RecoveryDir func() (string, error)
	// CompletionTime is the longest that a press of the tab key may take.
	CompletionTime time.Duration
}

// app is what every command has. It keeps nothing between them.
type app struct{ Deps }

// rootHelp is where exit codes and settings are documented; they are a contract
// with scripts.
const rootHelp = `spike keeps secrets in Nexus and operates the cluster.

Who you are follows from this program's SPIFFE identity: there is no password
and no login. Among the identities that the Workload API offers, each command
takes the one with the role that it needs.

Answers go to standard output, everything else to standard error. Commands with
-o answer programs in JSON or YAML, as their help describes: names may be added,
but are never changed or taken away.

Exit codes:
  0  done
  1  failed
  2  usage: the command line or a setting is wrong; nothing was sent
  3  not found
  4  denied: no identity, not the role that is needed, or not allowed
  5  not ready: Nexus is not initialized, locked, or waits for a Keeper
  6  unreachable: no Workload API, no Nexus, or something that is not Nexus
  7  conflict with what is there: already initialized, an older set of shards,
     another version than the one expected

Environment:
  SPIFFE_ENDPOINT_SOCKET        the Workload API, such as unix:///run/spire/agent/api.sock
  SPIKE_NEXUS_API_URL           Nexus (https://localhost:8553)
  SPIKE_TRUST_ROOT              trust domains, comma-separated (spike.ist)
  SPIKE_TRUST_ROOT_NEXUS        those in which an identity can be Nexus (the first)
  SPIKE_TRUST_ROOT_PILOT        those in which an identity can have a role (the first)
  SPIKE_TRUST_ROOT_{KEEPER,LITE_WORKLOAD}
                                those in which one can be that, for "policy test" (the first)
  SPIKE_PILOT_RECOVERY_DIR      where recovery shards go (~/.spike/recover)
  SPIKE_SPIFFE_SOURCE_TIMEOUT   how long to wait for the Workload API (5s)
  NO_COLOR                      no colour, even on a terminal`

// usageTemplate is shorter than cobra's, and shows the help command as well.
const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

More: {{.CommandPath}} COMMAND --help{{end}}
`

// New returns the root command. It prints no error itself; see [Report].
func New(deps Deps) *cobra.Command {
	a := &app{deps}
	root := group(&cobra.Command{
		Use:           "spike COMMAND",
		Short:         "Keep secrets in Nexus and operate the cluster",
		Long:          rootHelp,
		Version:       deps.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	// Errors are told by Report alone, and the usage only where it helps: cobra would
	// print a screen of flags because a Keeper is down.
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(flagError)
	root.SetIn(deps.In)
	root.SetOut(deps.Out)
	root.SetErr(deps.Err)
	root.SetHelpCommand(helpCommand())
	root.AddCommand(a.secret(), a.policy(), a.cipher(), a.operator(), a.completion(), &cobra.Command{
		Use:               "version",
		Short:             "Show which build this is",
		Args:              none(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			return a.print(func(w io.Writer) error {
				_, err := fmt.Fprintln(w, deps.Version)
				return err
			})
		},
	})
	// Cobra would add it when it runs, too late for what follows.
	root.InitDefaultHelpCmd()
	each(root, func(c *cobra.Command) {
		c.DisableFlagsInUseLine = true
		c.SuggestionsMinimumDistance = 2
		completeFilesOnly(c)
	})
	return root
}

// each visits cmd and every command below it, the hidden ones too.
func each(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, c := range cmd.Commands() {
		each(c, do)
	}
}

// print writes data to standard output in one go. A failure to do so is one: a
// script must not take half an answer for a whole one.
func (a *app) print(write func(io.Writer) error) error {
	var out bytes.Buffer
	err := write(&out)
	if err == nil {
		_, err = a.Out.Write(out.Bytes())
	}
	// What was printed may be a secret, and this copy is not needed any more.
	clear(out.Bytes())
	if err != nil {
		return &Failure{Code: Failed, What: "The output could not be written.", Why: "Standard output: " + root(err).Error() + ".", Err: err}
	}
	return nil
}

// despite adds to a failure to answer that what was asked for is done.
func despite(done string, err error) error {
	var f *Failure
	if errors.As(err, &f) {
		f.What = done + " But the answer could not be written."
	}
	return err
}

// tell writes remarks for people, which may be lost without harm.
func (a *app) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Err, format+"\n", args...)
}

// style is how the answer may look: in colour and within its width on a terminal,
// and as plain as can be for everything that reads it otherwise.
func (a *app) style(config Config) render.Style {
	if !terminal.Is(a.Out) {
		return render.Style{}
	}
	return render.Style{Color: !config.NoColor, Width: terminal.Width(a.Out)}
}
