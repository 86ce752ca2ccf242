package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/app/pilot/internal/policyfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/trial"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// testOptions is what the flags of test say.
type testOptions struct {
	as, path, action string
	policies, file   string
	output           *format
}

// policyTest has two forms: a question of somebody who wonders, to whom denied is an
// answer, and the expectations of CI, where it can be a failure.
func (a *app) policyTest() *cobra.Command {
	var opt testOptions
	cmd := &cobra.Command{
		Use:   "test {--as ID --path PATH --action ACTION | --file FILE}",
		Short: "Say whether policies allow something, and why",
		Long: `Say whether policies allow the workload --as to do --action at --path, and which
policy does; or which ones come nearest, and what they lack. Nothing is done in its
name. Denied is an answer and not a failure.

With --file it tests expectations, for instance in CI, and exits with 1 if one is
not met. The file is a YAML list; by, the policy that must allow it, can be left
out:

  - as: spiffe://spike.ist/web
    path: web/db
    action: read
    expect: allowed      # or denied
    by: web-db

Actions are read, write, list and execute; execute needs no path. To list at
spike/system/secret is to list everything; at another path, to find that in a list.

The policies are those of Nexus, which takes an identity that may list and read them,
and a request for each; or, with --policies, those of a file or folder, which needs
no Nexus and no identity.

With -o json or yaml the answer is an object: as, path, action; result, allowed or
denied; policy and role, that allow it; and why, a list of sentences. With --file it
is a list of them, which also have: file, line, expect, by, and met, true or false.`,
		Example: `  spike policy test --as spiffe://spike.ist/web --path web/db --action read
  spike policy test --as spiffe://spike.ist/web --path web/db --action read --policies policies/
  spike policy test --file cases.yaml --policies policies/`,
		Args: none(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVar(&opt.as, "as", "", "the SPIFFE `ID` that asks")
	complete(cmd, "as")
	flags.StringVar(&opt.path, "path", "", "the `PATH` that it asks for")
	completeWith(cmd, "path", a.completePath)
	flags.StringVar(&opt.action, "action", "", "the `ACTION` that it wants: read, write, list or execute")
	complete(cmd, "action", trial.Actions()...)
	flags.StringVar(&opt.policies, "policies", "", "take the policies of this `FILE` or folder")
	flags.StringVar(&opt.file, "file", "", "test the expectations in `FILE`; - is standard input")
	opt.output = outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.testPolicies(cmd, &opt) }
	return cmd
}

// testPolicies reads everything that was given before it asks Nexus.
func (a *app) testPolicies(cmd *cobra.Command, opt *testOptions) error {
	ctx := cmd.Context()
	if opt.file == "" {
		q, err := question(cmd, opt)
		if err != nil {
			return err
		}
		court, err := a.court(ctx, opt.policies)
		if err != nil {
			return err
		}
		return a.testOne(court, q, *opt.output)
	}
	if opt.as != "" || opt.path != "" || opt.action != "" {
		return usage(cmd, "--file has the questions in it: it goes without --as, --path and --action.")
	}
	const nothing = "Nothing was tested."
	if opt.file == "-" && opt.policies == "-" {
		return usage(cmd, "--file and --policies both want standard input, which can be read once.")
	}
	cases, problems, err := policyfile.LoadExpectations(opt.file, a.piped(ctx))
	if err != nil {
		return unreadable(nothing, err)
	}
	if err := a.refuse(nothing, problems); err != nil {
		return err
	}
	court, err := a.court(ctx, opt.policies)
	if err != nil {
		return err
	}
	return a.testAll(court, cases, *opt.output)
}

// question makes one of the flags.
func question(cmd *cobra.Command, opt *testOptions) (q trial.Question, err error) {
	if opt.action == "execute" && opt.path == "" {
		opt.path = decision.PathCipher
	}
	var missing []string
	for _, flag := range [...]struct{ name, value string }{{"--as", opt.as}, {"--path", opt.path}, {"--action", opt.action}} {
		if flag.value == "" {
			missing = append(missing, flag.name)
		}
	}
	if len(missing) > 0 {
		return q, usage(cmd, "The question is not complete: it lacks %s. Many are asked with --file.", strings.Join(missing, " and "))
	}
	if q.As, err = spiffeid.FromString(opt.as); err != nil {
		return q, usageFrom(cmd, fmt.Errorf("--as is not a SPIFFE ID: %w", err))
	}
	if err := decision.CheckPath(opt.path); err != nil {
		return q, usageFrom(cmd, err)
	}
	q.Path, q.Action = opt.path, opt.action
	return q, nil
}

// court decides under the policies of a file, or of Nexus where none is named.
func (a *app) court(ctx context.Context, file string) (*trial.Court, error) {
	const nothing = "Nothing was tested."
	var list []*policy.Policy
	if file == "" {
		s, err := a.connect(ctx, role.Superuser, true)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		if list, err = s.policies(ctx); err != nil {
			return nil, s.explain(ctx, nothing, err)
		}
		return trial.New(list, s.config.Roles), nil
	}
	config, err := a.Config()
	if err != nil {
		return nil, &Failure{Code: Usage, What: "A setting is unusable.", Why: err.Error(), Err: err}
	}
	documents, err := a.goodPolicies(ctx, nothing, file)
	if err != nil {
		return nil, err
	}
	for i := range documents {
		p, err := documents[i].Compile()
		if err != nil {
			return nil, err // it was checked above
		}
		list = append(list, p)
	}
	return trial.New(list, config.Roles), nil
}

// policies returns all policies of Nexus.
func (s *session) policies(ctx context.Context) (list []*policy.Policy, err error) {
	s.asks("list", decision.PathPolicy)
	names, err := s.PolicyList(ctx, api.PolicyListRequest{})
	if err != nil {
		return nil, err
	}
	s.asks("read", decision.PathPolicy)
	for _, name := range names {
		p, err := s.PolicyGet(ctx, name)
		if errors.Is(err, api.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		permissions, err := policy.ParsePermissions(p.Permissions)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		compiled, err := policy.Recompile(policy.Policy{
			Name: p.Name, SPIFFEIDPattern: p.SPIFFEIDPattern, PathPattern: p.PathPattern, Permissions: permissions,
		})
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		list = append(list, compiled)
	}
	return list, nil
}

// tested is a question and its answer, as programs get it.
type tested struct {
	As     string   `json:"as"`
	Path   string   `json:"path"`
	Action string   `json:"action"`
	Result string   `json:"result"`
	Policy string   `json:"policy"`
	Role   string   `json:"role"`
	Why    []string `json:"why"`
}

func newTested(q trial.Question, v *trial.Verdict) tested {
	t := tested{q.As.String(), q.Path, q.Action, policyfile.Denied, v.Policy, v.Role, append([]string{}, v.Why...)}
	if v.Allowed {
		t.Result = policyfile.Allowed
	}
	return t
}

// short is the answer in a few words.
func (t *tested) short() string {
	switch {
	case t.Policy != "":
		return t.Result + " by the policy " + t.Policy
	case t.Role != "":
		return t.Result + ": role " + t.Role
	}
	return t.Result
}

// testOne answers one question.
func (a *app) testOne(court *trial.Court, q trial.Question, output format) error {
	v, err := court.Decide(q)
	if err != nil {
		return &Failure{Code: Usage, What: render.Sentence(err.Error()), Err: err}
	}
	t := newTested(q, &v)
	return a.answer(output, t, func(w io.Writer) error {
		lines := append([]string{t.short()}, t.Why...)
		_, err := io.WriteString(w, render.Clean(lines[0])+"\n")
		for _, why := range lines[1:] {
			if err == nil {
				_, err = io.WriteString(w, "  "+render.Clean(why)+"\n")
			}
		}
		return err
	})
}

// checked is an expectation and what became of it.
type checked struct {
	tested
	File   string `json:"file"`
	Line   int    `json:"line"`
	Expect string `json:"expect"`
	By     string `json:"by"`
	Met    bool   `json:"met"`
}

// testAll goes through all expectations, also after one that is not met: CI shows them
// once.
func (a *app) testAll(court *trial.Court, cases []policyfile.Expectation, output format) error {
	results, failed := make([]checked, len(cases)), 0
	for i, e := range cases {
		v, err := court.Decide(e.Question)
		if err != nil {
			return &Failure{Code: Usage, What: render.Sentence(err.Error()), Err: err}
		}
		c := checked{tested: newTested(e.Question, &v), File: e.File, Line: e.Line, Expect: policyfile.Denied, By: e.By}
		if e.Allowed {
			c.Expect = policyfile.Allowed
		}
		c.Met = v.Allowed == e.Allowed && (e.By == "" || e.By == v.Policy)
		if !c.Met {
			failed++
		}
		results[i] = c
	}
	err := a.answer(output, results, func(w io.Writer) error { return writeChecked(w, results) })
	if err != nil {
		return err
	}
	if failed > 0 {
		return &Failure{Code: Failed, What: fmt.Sprintf("%d of %s not met.", failed, wereExpectations(len(results)))}
	}
	a.tell("All of %s met.", wereExpectations(len(results)))
	return nil
}

func wereExpectations(n int) string { return render.Count(n, "expectation") + " were" }

// writeChecked writes a table, and below it what an expectation that was not met
// says about the policies.
func writeChecked(w io.Writer, results []checked) error {
	rows := make([][]render.Cell, len(results))
	for i, c := range results {
		word, color := "ok", render.Good
		if !c.Met {
			word, color = "FAIL", render.Bad
		}
		rows[i] = append([]render.Cell{{Text: word, Color: color}},
			render.Row(render.Clean(c.As), c.Action, render.Clean(c.Path), c.Expect, c.Result)...)
	}
	if err := render.Table(w, render.Style{}, []string{"", "AS", "ACTION", "PATH", "EXPECTED", "RESULT"}, rows); err != nil {
		return err
	}
	for _, c := range results {
		if c.Met {
			continue
		}
		expected := c.Expect
		if c.By != "" {
			expected += " by the policy " + c.By
		}
		if _, err := fmt.Fprintf(w, "\n%s:%d: expected %s, and it is %s.\n", render.Clean(c.File), c.Line, expected, c.short()); err != nil {
			return err
		}
		for _, why := range c.Why {
			if _, err := fmt.Fprintln(w, "  "+render.Clean(why)); err != nil {
				return err
			}
		}
	}
	return nil
}
