package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/spike/app/bench/internal/measure"
	"github.com/spiffe/spike/app/bench/internal/report"
	"github.com/spiffe/spike/internal/buildinfo"
	"github.com/spiffe/spike/internal/process"
)

const usage = `bench measures a real cluster against the least that a Go server over mutual TLS
can do, the ceiling. scripts/bench builds all that it needs, and calls it.

Usage:
  bench --programs FOLDER [--quick] [--output FOLDER] [--folder FOLDER] [--rounds N] [--only PARTS]
  bench ceiling     serve what is measured by; the other form starts it

`

// options are what the command line says.
type options struct {
	programs, output, folder string
	only                     []string
	quick                    bool
	rounds                   int
}

func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) error {
	if len(args) == 1 && args[0] == "ceiling" {
		return serveCeiling(ctx, lookup, stdout)
	}
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	size := o.size()
	machine, err := report.DescribeMachine(o.folder)
	if err != nil {
		return err
	}
	if machine.FileSystem == "tmpfs" {
		return fmt.Errorf("%s is in memory (tmpfs), where a flush costs nothing; name a folder on a disk with --folder", o.folder)
	}
	rows, err := measure.Run(ctx, measure.Config{
		Programs: o.programs, Folder: o.folder, Size: size, Only: o.only,
		Say: func(format string, args ...any) {
			_, _ = fmt.Fprintf(stderr, format+" …\n", args...) // a remark
		},
	})
	if err != nil {
		return err
	}
	result := report.New(rows, size, machine, buildinfo.Version("nexus"), o.quick)
	if err := result.Print(stdout); err != nil || o.output == "" {
		return err
	}
	return result.Write(o.output)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage) // as flag does
		flags.PrintDefaults()
	}
	flags.StringVar(&o.programs, "programs", "", "the folder of nexus, keeper, spike and identity")
	flags.StringVar(&o.output, "output", "", "where the figures, as JSON and as charts, are written; nowhere unless it is named")
	flags.StringVar(&o.folder, "folder", ".spike-bench", "where the stores are: on the disk that is measured")
	flags.BoolVar(&o.quick, "quick", false, "rough figures in less than a minute")
	flags.IntVar(&o.rounds, "rounds", 0, "how many rounds, if not 8, or 2 quick ones: as many of them begin with the one side as with the other")
	flags.Func("only", "measure only these, comma-separated: "+strings.Join(measure.Parts(), ", "), func(list string) error {
		for name := range strings.SplitSeq(list, ",") {
			if !slices.Contains(measure.Parts(), name) {
				return fmt.Errorf("%q is none of them", name)
			}
			o.only = append(o.only, name)
		}
		return nil
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, fmt.Errorf("%w: %w", err, process.ErrUsage)
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is one argument too many: %w", flags.Arg(0), process.ErrUsage)
	case o.programs == "":
		return o, fmt.Errorf("--programs is missing: %w", process.ErrUsage)
	case o.rounds < 0:
		return o, fmt.Errorf("--rounds %d: there must be one at least: %w", o.rounds, process.ErrUsage)
	}
	return o, nil
}

// size says how much is measured.
func (o *options) size() measure.Size {
	size := measure.Size{
		Rounds: 8, Time: 1500 * time.Millisecond, Warm: 300 * time.Millisecond, Workloads: 1000, Large: 100_000, Starts: 5, Flushes: 200,
	}
	if o.quick {
		size = measure.Size{
			Rounds: 2, Time: 300 * time.Millisecond, Warm: 100 * time.Millisecond, Workloads: 200, Large: 10_000, Starts: 2, Flushes: 50,
		}
	}
	if o.rounds > 0 {
		size.Rounds = o.rounds
	}
	return size
}
