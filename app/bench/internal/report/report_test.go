package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/bench/internal/measure"
)

func sample(t *testing.T) *Report {
	t.Helper()
	machine, err := DescribeMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if machine.Processors < 1 || machine.FileSystem == "" || machine.Kernel == "" {
		t.Errorf("the machine is %+v", machine)
	}
	rows := []*measure.Row{
		{ID: "reads-16", Name: "reads", Unit: "requests/s", Against: "ceiling", Target: 0.9, MoreIsBetter: true,
			Samples: []measure.Sample{{Value: 21000, Base: 24000, CPU: 25, BaseCPU: 20}, {Value: 22000, Base: 24000}}},
		{ID: "memory", Name: "memory", Unit: "MB", Target: 160, Samples: []measure.Sample{{Value: 161.2}}},
		{ID: "flush", Name: "a flush", Unit: "µs", Samples: []measure.Sample{{Value: 900}}},
		{ID: "never", Name: "never measured", Target: 1},
	}
	return New(rows, measure.Size{Rounds: 2, Starts: 1}, machine, "nexus 1.2.3", true)
}

func TestWrite(t *testing.T) {
	t.Parallel()
	r := sample(t)
	folder := filepath.Join(t.TempDir(), "new")
	if err := r.Write(folder); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Rows []struct {
			ID      string
			Summary measure.Summary
		}
	}
	content, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Rows) != 3 || back.Rows[0].Summary.Value != 21500 || back.Rows[0].Summary.MeetsTarget || back.Rows[1].Summary.MeetsTarget {
		t.Errorf("the rows are %+v", back.Rows)
	}
	for _, c := range charts() {
		content, err := os.ReadFile(filepath.Join(folder, c.file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), c.title) {
			t.Errorf("%s has no title", c.file)
		}
		decoder := xml.NewDecoder(strings.NewReader(string(content)))
		for err == nil {
			_, err = decoder.Token()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", c.file, err)
		}
	}
}

// TestFiguresStandBetweenMarks writes into a page twice: what people wrote stays,
// what was measured before goes.
func TestFiguresStandBetweenMarks(t *testing.T) {
	t.Parallel()
	r := sample(t)
	folder := t.TempDir()
	page := filepath.Join(folder, "README.md")
	if err := os.WriteFile(page, []byte("# Before\n\n"+begin+"\nold figures\n"+end+"\n\nAfter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var first string
	for range 2 {
		if err := r.Write(folder); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		got := string(content)
		if !strings.HasPrefix(got, "# Before\n\n"+begin) || !strings.HasSuffix(got, end+"\n\nAfter\n") || strings.Contains(got, "old figures") {
			t.Errorf("the page is\n%s", got)
		}
		if first != "" && got != first {
			t.Error("the second time is not like the first")
		}
		first = got
		for _, want := range []string{
			"| reads | 21,500 requests/s | 24,000 ceiling | 0.896 | 0.88 to 0.92 | ≥ 0.90 | NOT MET |", "≤ 160 MB | NOT MET", "quick run", "![",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("the page has no %q:\n%s", want, got)
			}
		}
	}
	if err := os.WriteFile(page, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(folder); err == nil || !strings.Contains(err.Error(), begin) {
		t.Errorf("a page without marks: %v", err)
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := sample(t).Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"161 MB", "NOT MET", "900 µs", "nexus 1.2.3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
