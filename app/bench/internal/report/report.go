// Package report writes down what was measured: as JSON, as a table and as charts.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/spike/app/bench/internal/measure"
)

// Report is one run.
type Report struct {
	Date    string       `json:"date"` // of its end, UTC
	Version string       `json:"version"`
	Quick   bool         `json:"quick"`
	Machine Machine      `json:"machine"`
	Size    measure.Size `json:"size"`
	Rows    []Row        `json:"rows"`
}

// Row is a row with what it comes to.
type Row struct {
	*measure.Row
	Summary measure.Summary `json:"summary"`
}

// New sums rows up.
func New(rows []*measure.Row, size measure.Size, machine Machine, version string, quick bool) *Report {
	r := &Report{
		Date: time.Now().UTC().Format(time.DateOnly), Version: version, Quick: quick, Machine: machine, Size: size,
	}
	for _, row := range rows {
		if len(row.Samples) > 0 {
			r.Rows = append(r.Rows, Row{row, row.Summary()})
		}
	}
	return r
}

// Write writes result.json, the charts, and the figures of README.md into folder.
func (r *Report) Write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // it is documentation
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := write(folder, "result.json", append(content, '\n')); err != nil {
		return err
	}
	charts, err := r.charts()
	if err != nil {
		return fmt.Errorf("draw the charts: %w", err)
	}
	for name, content := range charts {
		if err := write(folder, name, content); err != nil {
			return err
		}
	}
	return r.writeFigures(filepath.Join(folder, "README.md"))
}

func write(folder, name string, content []byte) error {
	return os.WriteFile(filepath.Join(folder, name), content, 0o644) //nolint:gosec // it is documentation
}

// row returns a row by its id; ok is false when it was not measured.
func (r *Report) row(id string) (row Row, ok bool) {
	for _, row := range r.Rows {
		if row.ID == id {
			return row, true
		}
	}
	return Row{}, false
}
