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
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// The results of apply. They are words of the answer for programs.
const (
	created   = "created"
	changed   = "changed"
	unchanged = "unchanged"
)

// applied is what became of one policy.
type applied struct {
	Name    string   `json:"name"`
	Result  string   `json:"result"`
	Changed []string `json:"changed"` // the keys that differ
	put     api.PolicyPutRequest
}

// policyApply never deletes: a file that is not there would take away what it granted.
func (a *app) policyApply() *cobra.Command {
	var file string
	var dry bool
	cmd := &cobra.Command{
		Use:   "apply --file FILE",
		Short: "Write the policies of a file or folder",
		Long: `Write the policies of a file or folder, and say which are created, changed and
unchanged. Policies that are not in it stay as they are.

Everything is checked first, as "spike policy lint" does, and nothing is written if
there is an error in it. With --dry-run nothing is written in any case.` + policyFileHelp + `

With -o json or yaml the answer is a list of objects: name; result, which is
created, changed or unchanged; and changed, the keys that differ.`,
		Example: `  spike policy apply --file policies/ --dry-run
  spike policy apply --file web.yaml
  generate-policies | spike policy apply --file -`,
		Args: none(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a `FILE` or folder; - is standard input")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "write nothing; say what would be done")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" {
			return usage(cmd, "What to apply is missing: --file.")
		}
		return a.applyPolicies(cmd.Context(), file, dry, *output)
	}
	return cmd
}

// applyPolicies compares and writes as much as is needed, so that it can be repeated.
func (a *app) applyPolicies(ctx context.Context, file string, dry bool, output format) error {
	const nothing = "No policy was written."
	list, err := a.goodPolicies(ctx, nothing, file)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	s.asks("read", decision.PathPolicy)
	// What is there is found out for all of them before anything is written.
	plan := make([]applied, len(list))
	for i := range list {
		if plan[i], err = s.compare(ctx, &list[i]); err != nil {
			return s.explain(ctx, nothing, err)
		}
	}
	if !dry {
		if err := s.write(ctx, plan); err != nil {
			return err
		}
	}
	if dry {
		a.tell("This is a dry run: nothing was written.")
	}
	err = a.answer(output, plan, func(w io.Writer) error {
		for _, p := range plan {
			line := p.Name + ": " + p.Result
			if dry && p.Result != unchanged {
				line = p.Name + ": would be " + p.Result
			}
			if len(p.Changed) > 0 {
				line += " (" + strings.Join(p.Changed, ", ") + ")"
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
		return nil
	})
	if dry {
		return err
	}
	return despite("The policies were written.", err)
}

// compare says what applying a document would do.
func (s *session) compare(ctx context.Context, d *policyfile.Document) (applied, error) {
	p := applied{Name: d.Name.Value, Result: created, Changed: []string{}, put: putRequest(d)}
	there, err := s.PolicyGet(ctx, p.Name)
	if errors.Is(err, api.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if there.SPIFFEIDPattern != p.put.SPIFFEIDPattern {
		p.Changed = append(p.Changed, "spiffeidPattern")
	}
	if there.PathPattern != p.put.PathPattern {
		p.Changed = append(p.Changed, "pathPattern")
	}
	// Their order means nothing, nor does one that is there twice.
	old, err := policy.ParsePermissions(there.Permissions)
	wanted, bad := policy.ParsePermissions(p.put.Permissions)
	if err != nil || bad != nil || !slices.Equal(old.Names(), wanted.Names()) {
		p.Changed = append(p.Changed, "permissions")
	}
	p.Result = unchanged
	if len(p.Changed) > 0 {
		p.Result = changed
	}
	return p, nil
}

// write writes what is new or differs. Where it ends early, it says what was
// written: applying the same again does the rest.
func (s *session) write(ctx context.Context, plan []applied) error {
	s.asks("write", decision.PathPolicy)
	var done []string
	for _, p := range plan {
		if p.Result == unchanged {
			continue
		}
		err := s.PolicyPut(ctx, p.put)
		if err == nil {
			done = append(done, p.Name)
			continue
		}
		explained := s.explainWrite(ctx, fmt.Sprintf("The policy %s was not written.", p.Name), err)
		var f *Failure
		if errors.As(explained, &f) {
			before := "No other was written before it."
			if len(done) > 0 {
				before = "These were written before it: " + strings.Join(done, ", ") + "."
			}
			f.Why = joined(f.Why, before)
			f.Next = append(f.Next, "To write the rest, apply the same again.")
		}
		return explained
	}
	return nil
}
