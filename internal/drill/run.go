package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spiffe/spike/internal/clustertest"
)

// errFailed means that a drill was not passed, which its line has said.
var errFailed = errors.New("a drill was not passed")

// projects is what the names of clusters in containers begin with.
const projects = "spike-drill-"

// options are what the command line says.
type options struct {
	programs string // a folder
	secrets  int
	only     string
	project  string // of a cluster in containers; empty for clusters of processes
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	if len(args) > 0 && args[0] == "inside" {
		return inside(ctx, args[1:], stdout, stderr)
	}
	var o options
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.programs, "programs", "", "the folder that has the programs; they are built unless it is named")
	flags.IntVar(&o.secrets, "secrets", 200, "how many secrets each cluster has")
	flags.StringVar(&o.only, "only", "", "only the drills whose names contain this")
	flags.StringVar(&o.project, "compose", "", "hold the drills of a cluster in containers, which has this name")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("%q is one argument too many", flags.Arg(0))
	}
	if o.project != "" {
		// It is lost in the end, whatever was in it before.
		if !strings.HasPrefix(o.project, projects) {
			return fmt.Errorf("a cluster called %q may be somebody's; that of drills begins with %s, and scripts/drill --compose names one", o.project, projects)
		}
		return runStack(ctx, o, stackDrills(), stdout, stderr)
	}
	if o.programs == "" {
		dir, err := os.MkdirTemp("", "spike-drill-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // nothing of ours is lost with it
		o.programs = filepath.Join(dir, "bin")
		_, _ = fmt.Fprintln(stderr, "building the programs …") // a remark
		if err := clustertest.Build(ctx, o.programs, ""); err != nil {
			return err
		}
	}
	return runAll(ctx, o, drills(), stdout, stderr)
}

// drill is one way to lose something.
type drill struct {
	name string
	// lose loses it and brings it back, and returns how long secrets were not
	// served, or what else the drill took, from the first command of the cure on.
	lose func(ctx context.Context, f *field) (time.Duration, error)
}

// outcome is how a drill went.
type outcome struct {
	name    string
	took    time.Duration
	secrets int
	files   int    // that were looked into for keys and shares
	remark  string // what the table alone would not tell
	err     error
}

func runAll(ctx context.Context, o options, list []drill, stdout, stderr io.Writer) error {
	var outcomes []outcome
	for _, d := range list {
		if !strings.Contains(d.name, o.only) {
			continue
		}
		_, _ = fmt.Fprintf(stderr, "%s …\n", d.name) // a remark
		outcomes = append(outcomes, runOne(ctx, o, d))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if len(outcomes) == 0 {
		return fmt.Errorf("no drill's name contains %q", o.only)
	}
	return report(stdout, outcomes)
}

func runOne(ctx context.Context, o options, d drill) (out outcome) {
	out.name = d.name
	f, err := newField(ctx, o)
	if err != nil {
		out.err = err
		return out
	}
	defer func() {
		if out.err != nil {
			out.err = fmt.Errorf("%w\n%s", out.err, f.logs())
		}
		out.err = errors.Join(out.err, f.close())
	}()
	out.took, out.err = d.lose(ctx, f)
	if out.err == nil {
		out.err = f.compare(ctx)
	}
	if out.err == nil {
		out.err = f.searchTraces()
	}
	out.secrets, out.files, out.remark = f.before.secrets, f.searched, f.remark
	return out
}

// report prints the table, and what went wrong below it.
func report(w io.Writer, outcomes []outcome) error {
	failed, files := 0, 0
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DRILL\tRESULT\tBACK IN\tSECRETS COMPARED")
	for _, o := range outcomes {
		result := "PASS"
		if o.err != nil {
			result = "FAIL"
			failed++
		}
		files += o.files
		fmt.Fprintf(table, "%s\t%s\t%.2f s\t%d\n", o.name, result, o.took.Seconds(), o.secrets)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if files > 0 {
		if _, err := fmt.Fprintf(w, "\nLooked for each key and share in %d files, and in what the commands printed.\n", files); err != nil {
			return err
		}
	}
	for _, o := range outcomes {
		if o.remark != "" {
			if _, err := fmt.Fprintf(w, "\n%s: %s\n", o.name, o.remark); err != nil {
				return err
			}
		}
		if o.err != nil {
			if _, err := fmt.Fprintf(w, "\n%s: %v\n", o.name, o.err); err != nil {
				return err
			}
		}
	}
	if _, err := fmt.Fprintf(w, "\n%d passed, %d failed\n", len(outcomes)-failed, failed); err != nil {
		return err
	}
	if failed > 0 {
		return errFailed
	}
	return nil
}
