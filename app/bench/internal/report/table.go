package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
)

// The lines of README.md between which the figures are.
const (
	begin = "<!-- figures, written by scripts/bench: -->"
	end   = "<!-- end of the figures -->"
)

// Print writes the tables for a terminal.
func (r *Report) Print(w io.Writer) error {
	for _, targets := range []bool{true, false} {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, strings.Join(heading(targets), "\t"))
		for _, row := range r.Rows {
			if (row.Target != 0) == targets {
				fmt.Fprintln(table, strings.Join(row.cells(), "\t"))
			}
		}
		fmt.Fprintln(table)
		if err := table.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, r.sentence())
	return err
}

func heading(targets bool) []string {
	if targets {
		return []string{"", "Nexus", "against", "ratio", "of the rounds", "target", "", "CPU of either, µs"}
	}
	return []string{"", "Nexus", "against", "ratio", "of the rounds", "", "", ""}
}

// cells are a row's, under heading.
func (r Row) cells() []string {
	s := r.Summary
	list := []string{r.Name, number(s.Value) + " " + r.Unit, "", "", "", "", "", ""}
	if r.Against != "" {
		list[2] = number(s.Base) + " " + r.Against
		list[3] = fmt.Sprintf("%.2f", s.Ratio)
		if r.Target != 0 && !s.MeetsTarget && list[3] == fmt.Sprintf("%.2f", r.Target) {
			list[3] = fmt.Sprintf("%.3f", s.Ratio) // what is missing is to be seen
		}
		list[4] = fmt.Sprintf("%.2f to %.2f", s.Lowest, s.Highest)
	} else {
		list[4] = number(s.Lowest) + " to " + number(s.Highest)
	}
	if r.Target != 0 {
		list[5], list[6] = r.target(), "met"
		if !s.MeetsTarget {
			list[6] = "NOT MET"
		}
	}
	if s.CPU != 0 {
		list[7] = fmt.Sprintf("%.1f, %.1f", s.CPU, s.BaseCPU)
	}
	return list
}

func (r Row) target() string {
	sign := "≤"
	if r.MoreIsBetter {
		sign = "≥"
	}
	if r.Against == "" {
		return sign + " " + number(r.Target) + " " + r.Unit
	}
	return fmt.Sprintf("%s %.2f", sign, r.Target)
}

// number has three or more significant digits.
func number(f float64) string {
	switch {
	case f >= 10000:
		return fmt.Sprintf("%d,%03d", int(f+0.5)/1000, int(f+0.5)%1000)
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// sentence describes the machine and the run.
func (r *Report) sentence() string {
	m := r.Machine
	quick := ""
	if r.Quick {
		quick = " This was a quick run, of fewer rounds and a smaller store: its figures are rough."
	}
	return fmt.Sprintf("Measured on %s with %s: %d × %s, %s of memory, Linux %s, %s on %s, %s. "+
		"Medians of %d rounds (%d starts), %s for each figure of a round.%s",
		r.Date, r.Version, m.Processors, m.Processor, m.Memory, m.Kernel, m.FileSystem, m.Device, m.Go,
		r.Size.Rounds, r.Size.Starts, r.Size.Time, quick)
}

// markdown is what stands between the marks.
func (r *Report) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s\n", r.sentence())
	for _, targets := range []bool{true, false} {
		cells := heading(targets)
		fmt.Fprintf(&out, "\n| %s |\n|%s\n", strings.Join(cells, " | "), strings.Repeat("---|", len(cells)))
		for _, row := range r.Rows {
			if (row.Target != 0) == targets {
				fmt.Fprintf(&out, "| %s |\n", strings.Join(row.cells(), " | "))
			}
		}
	}
	out.WriteString("\n")
	for _, c := range charts() {
		fmt.Fprintf(&out, "![%s](%s)\n\n", c.title, c.file)
	}
	return out.String()
}

// writeFigures puts the figures into the page, between the marks, or makes a page
// of them alone.
func (r *Report) writeFigures(file string) error {
	page, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		page = []byte("# Benchmark\n\n" + begin + "\n" + end + "\n")
	} else if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !ok || !ended {
		return fmt.Errorf("%s does not say where its figures are: it needs the lines %q and %q", file, begin, end)
	}
	content := string(before) + begin + "\n" + r.markdown() + end + string(after)
	return os.WriteFile(file, []byte(content), 0o644) //nolint:gosec // it is documentation
}
