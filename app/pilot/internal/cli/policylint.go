package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/policyfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
)

const policyFileHelp = `

A file has one policy in each YAML document, with the keys name, spiffeidPattern,
pathPattern and permissions, a list. Of a folder the files *.yaml and *.yml are
read, and none in folders below it; - is standard input.`

// finding is what lint says to programs.
type finding struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Severity string `json:"severity"`
	Policy   string `json:"policy"`
	Message  string `json:"message"`
	Instead  string `json:"instead"`
	Hint     string `json:"hint"`
}

// policyLint knows what Nexus would refuse, by the same code, and what it would take
// although nobody can mean it.
func (a *app) policyLint() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE…",
		Short: "Say what is wrong with policy files, and where",
		Long: `Say what is wrong with policy files, where, and what to write instead. It needs
no Nexus and no identity.

An error is what Nexus would refuse, or what makes it doubtful which policy is
meant: it exits with 1. A warning is what Nexus would take, and is probably not
meant: a dot that is not escaped, for instance, a pattern that looks as if it granted
reserved paths and does not, or a permission that nothing needs at such paths.` + policyFileHelp + `

With -o json or yaml the answer is a list of objects: file, line (0 where there is
none), severity (error or warning), policy, message, instead, hint. Texts can be
empty.`,
		Example: `  spike policy lint policies/
  spike policy lint --strict web.yaml db.yaml`,
		Args: arguments(1, -1, "files or folders"),
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings as well")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if first := slices.Index(args, "-"); first >= 0 && slices.Contains(args[first+1:], "-") {
			return usage(cmd, "Standard input, which is -, can be read once.")
		}
		list, problems, err := a.readPolicies(cmd.Context(), "Nothing was checked.", args...)
		if err != nil {
			return err
		}
		findings := make([]finding, len(problems))
		for i, p := range problems {
			findings[i] = finding{p.File, p.Line, severity(&p), p.Policy, p.What, p.Instead, p.Hint}
		}
		err = a.answer(*output, findings, func(w io.Writer) error { return writeProblems(w, problems) })
		if err != nil {
			return err
		}
		wrong, doubtful := len(policyfile.Errors(problems)), len(policyfile.Warnings(problems))
		if wrong > 0 || strict && doubtful > 0 {
			return &Failure{Code: Failed, What: render.Sentence(fmt.Sprintf("%s and %s in %s",
				count(wrong, "error"), count(doubtful, "warning"), policies(len(list))))}
		}
		a.tell("No errors and %s in %s.", count(doubtful, "warning"), policies(len(list)))
		return nil
	}
	return cmd
}

// count is for what there may be none of.
func count(n int, thing string) string {
	if n == 0 {
		return "no " + thing + "s"
	}
	return render.Count(n, thing)
}

func policies(n int) string {
	if n == 1 {
		return "1 policy"
	}
	return fmt.Sprintf("%d policies", n)
}

// piped is standard input where that is not a terminal, on which nobody types YAML.
func (a *app) piped(ctx context.Context) io.Reader {
	if terminal.Is(a.In) {
		return nil
	}
	return terminal.Reader(ctx, a.In)
}

// unreadable is for a file that was named, and cannot be read. Nothing was sent.
func unreadable(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	f := fileTrouble(what, err)
	f.Code = Usage
	return f
}

// readPolicies reads files and checks what is in them. The problems are in order.
func (a *app) readPolicies(ctx context.Context, what string, names ...string) ([]policyfile.Document, []policyfile.Problem, error) {
	input := a.piped(ctx)
	var list []policyfile.Document
	var problems []policyfile.Problem
	for _, name := range names {
		some, wrong, err := policyfile.Load(name, input)
		if err != nil {
			return nil, nil, unreadable(what, err)
		}
		list, problems = append(list, some...), append(problems, wrong...)
	}
	problems = append(problems, policyfile.Check(list)...)
	policyfile.Sort(problems)
	return list, problems, nil
}

// goodPolicies is readPolicies for a command that needs them without errors. It
// tells what is wrong, and doubtful.
func (a *app) goodPolicies(ctx context.Context, what, name string) ([]policyfile.Document, error) {
	list, problems, err := a.readPolicies(ctx, what, name)
	if err != nil {
		return nil, err
	}
	return list, a.refuse(what, problems)
}

// refuse tells problems, and fails if one is an error. Nothing was sent by then.
func (a *app) refuse(what string, problems []policyfile.Problem) error {
	if err := writeProblems(a.Err, problems); err != nil {
		return &Failure{Code: Failed, What: what, Why: "What is wrong, or doubtful, could not be told: " + root(err).Error() + ".", Err: err}
	}
	if n := len(policyfile.Errors(problems)); n > 0 {
		return &Failure{Code: Usage, What: what, Why: fmt.Sprintf("There is something wrong in what was given: %s, as told above.", count(n, "error")),
			Next: []string{"Correct it and try again. Nothing was sent."}}
	}
	return nil
}

func severity(p *policyfile.Problem) string {
	if p.Warning {
		return "warning"
	}
	return "error"
}

// writeProblems writes them as compilers do, so that editors find the places.
func writeProblems(w io.Writer, problems []policyfile.Problem) error {
	var out strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&out, "%s: %s: %s\n", render.Clean(p.Where()), severity(&p), render.Clean(p.What))
		if p.Instead != "" {
			fmt.Fprintf(&out, "    write: %s: '%s'\n", p.Key, render.Clean(strings.ReplaceAll(p.Instead, "'", "''")))
		}
		if p.Hint != "" {
			fmt.Fprintf(&out, "    %s\n", render.Clean(p.Hint))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
