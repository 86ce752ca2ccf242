// Package render writes answers for people and for programs.
package render

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spiffe/spike/internal/api"
)

// JSON writes v indented, and with < > & as they are.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Clean makes what could steer a terminal visible instead, but for tabs.
func Clean(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r != '\t' && !unicode.IsPrint(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// Values writes a secret for people, a key a line in the keys' order. A value of
// several lines follows its key, indented.
func Values(w io.Writer, values api.Values) error {
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		if !strings.Contains(value, "\n") {
			fmt.Fprintf(&out, "%s: %s\n", Clean(key), Clean(value))
			continue
		}
		fmt.Fprintf(&out, "%s:\n", Clean(key))
		for line := range strings.SplitSeq(strings.TrimSuffix(value, "\n"), "\n") {
			fmt.Fprintf(&out, "  %s\n", Clean(strings.TrimSuffix(line, "\r")))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Fields writes names and values in two columns. A field without a value is
// left out.
func Fields(w io.Writer, fields ...[2]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f[1] != "" {
			fmt.Fprintf(table, "%s:\t%s\n", f[0], f[1])
		}
	}
	return table.Flush()
}

// Table writes rows under a head.
func Table(w io.Writer, head []string, rows [][]string) error {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(out.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// Count writes a number of things: "1 Keeper", "2 Keepers".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
