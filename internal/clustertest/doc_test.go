package clustertest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/doctest"
)

// The documentation is run: see package doctest.

// docPages lists the pages in the order in which they are run: the README as a
// new user would, then the others, against the cluster that runs by then. Pages
// that are made from the commands are compared with those where they are made.
func docPages(t *testing.T, root string) []string {
	t.Helper()
	pages := []string{"README.md"}
	must(t, filepath.WalkDir(filepath.Join(root, "docs"), func(name string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".md" || filepath.Base(filepath.Dir(name)) == "cli" {
			return err
		}
		page, err := filepath.Rel(root, name)
		pages = append(pages, page)
		return err
	}))
	return pages
}

// docReader is who reads the pages: the one who runs the tests.
func docReader(t *testing.T) user {
	t.Helper()
	home, err := os.UserHomeDir()
	must(t, err)
	return user{name: "reader", uid: os.Getuid(), home: home}
}

// docRun runs a page's commands and returns what is wrong with them. plain turns
// what they printed into what a reader would see.
func docRun(t *testing.T, c *checkout, env []string, page, text string, plain func(string) string) error {
	t.Helper()
	return doctest.Run(doctest.Page{
		Name: page, Text: text, Kind: doctest.Local, Folder: t.TempDir(), Plain: plain,
		Bash: func(script string) (int, string, error) {
			r := c.run(t.Context(), t, env, "/bin/bash", "-eu", script)
			return r.Code, r.Stderr, nil
		},
	})
}

// TestDocCommands runs every command of the documentation in a fresh clone.
func TestDocCommands(t *testing.T) {
	t.Parallel()
	l := clone(t, docReader(t)).newLocal(t, "")
	// The pages show the ports that a cluster has by itself. Here it is given
	// others, as if an earlier start had chosen them.
	shown := []string{"8553", "8443", "8543", "8643"}
	var ports, back []string
	for i, s := range shown {
		ports = append(ports, strconv.Itoa(l.port+i))
		back = append(back, ":"+ports[i], ":"+s)
	}
	must(t, os.MkdirAll(filepath.Join(l.dir, "config"), 0o755))
	must(t, os.WriteFile(filepath.Join(l.dir, "config", "ports"), []byte(strings.Join(ports, " ")+"\n"), 0o644))
	back = append(back, l.checkout.dir, "/home/you/spike")
	plain := strings.NewReplacer(back...).Replace
	env := []string{"SPIKE_NEXUS_API_URL=https://localhost:" + ports[0]}

	for _, page := range docPages(t, l.checkout.dir) {
		if page != "README.md" && len(l.processes(t)) == 0 {
			l.start(t, 0)
			env = append(env, "PATH="+filepath.Join(l.dir, "bin")+":"+l.path,
				"SPIFFE_ENDPOINT_SOCKET=unix://"+filepath.Join(l.dir, "run", "identity.sock"))
		}
		text := read(filepath.Join(l.checkout.dir, page))
		if err := docRun(t, l.checkout, env, page, text, plain); err != nil {
			t.Fatal(err)
		}
	}
}

// docSection returns a page's text below a heading, to the next one of its level
// or above.
func docSection(t *testing.T, page, heading string) string {
	t.Helper()
	level, _, _ := strings.Cut(heading, " ")
	var out strings.Builder
	in := false
	for line := range strings.Lines(page) {
		if marks, _, ok := strings.Cut(line, " "); ok && strings.Trim(marks, "#") == "" && marks != "" && len(marks) <= len(level) {
			in = strings.TrimSpace(line) == heading
		} else if in {
			out.WriteString(line)
		}
	}
	if out.Len() == 0 {
		t.Fatalf("there is no section %q", heading)
	}
	return out.String()
}

// docTable returns the rows of the tables in a text, as plain words.
func docTable(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(strings.TrimSpace(line), "| `") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(strings.ReplaceAll(cells[i], "`", ""))
		}
		rows = append(rows, cells)
	}
	return rows
}

func docRoot(t *testing.T) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

var (
	docSetting = regexp.MustCompile(`(?m)^  ([A-Z][A-Z_]+)(?:\{([A-Z_,]+)\})?\s+(.*(?:\n {20,}.*)*)$`)
	docDefault = regexp.MustCompile(`\(([^()]+)\)$|(\S+) \(the default\)`)
	docRange   = regexp.MustCompile(`(\S+) to (\S+)$`)
)

// TestDocSettings compares the settings and exit codes in docs/reference.md with
// what the programs say of themselves.
func TestDocSettings(t *testing.T) {
	t.Parallel()
	page := read(filepath.Join(docRoot(t), "docs", "reference.md"))
	for _, program := range []string{"nexus", "keeper", "spike", "identity"} {
		t.Run(program, func(t *testing.T) {
			help, err := exec.CommandContext(t.Context(), filepath.Join(programs, program), "--help").Output()
			must(t, err)
			told := map[string]string{}
			for _, m := range docSetting.FindAllStringSubmatch(string(help), -1) {
				value := ""
				if d := docDefault.FindStringSubmatch(m[3]); d != nil {
					value = d[1] + d[2]
				}
				for part := range strings.SplitSeq(m[2], ",") {
					told[m[1]+part] = value
				}
			}
			written := map[string]string{}
			var ranges [][]string
			for _, row := range docTable(docSection(t, page, "### "+program)) {
				written[row[0]] = row[1]
				if docRange.MatchString(row[2]) {
					ranges = append(ranges, row)
				}
			}
			for name, value := range told {
				got, ok := written[name]
				if !ok || got != value && got != value+" of SPIKE_TRUST_ROOT" {
					t.Errorf("%s: the page has the default %q, and --help has %q", name, got, value)
				}
			}
			for name := range written {
				if _, ok := told[name]; !ok {
					t.Errorf("%s is not among the settings in --help", name)
				}
			}
			docRanges(t, program, ranges)
		})
	}
	help, err := exec.CommandContext(t.Context(), filepath.Join(programs, "spike"), "--help").Output()
	must(t, err)
	_, codes, _ := strings.Cut(string(help), "Exit codes:\n")
	codes, _, _ = strings.Cut(codes, "\n\n")
	codes = strings.ReplaceAll(codes, "\n     ", " ") // a line that goes on
	var written []string
	for _, row := range docTable(docSection(t, page, "## Exit codes")) {
		written = append(written, row[0]+" "+row[1])
	}
	if told := doctest.Lines(codes); !slices.Equal(told, written) {
		t.Errorf("spike --help has the exit codes\n%q\nand the page\n%q", told, written)
	}
}

// docRanges has a program complain of settings out of range, which names what it
// would take.
func docRanges(t *testing.T, program string, rows [][]string) {
	t.Helper()
	args := map[string][]string{"spike": {"secret", "list"}}[program]
	for _, row := range rows {
		m := docRange.FindStringSubmatch(row[2])
		bad, want := "x", m[1]+" to "+m[2]
		if low, err := time.ParseDuration(m[1]); err == nil {
			high, err := time.ParseDuration(m[2])
			must(t, err)
			bad, want = "1ns", low.String()+" to "+high.String()
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(programs, program), args...)
		cmd.Env = []string{"HOME=/nonexistent", row[0] + "=" + bad}
		output, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(output), want) {
			t.Errorf("%s: the page has %q, and %s=%s makes %s say: %s", row[0], row[2], row[0], bad, program, output)
		}
	}
}

// TestDocErrors compares the error codes in docs/reference.md with the tables
// that the servers answer from.
func TestDocErrors(t *testing.T) {
	t.Parallel()
	root := docRoot(t)
	page := read(filepath.Join(root, "docs", "reference.md"))
	status := map[string]string{
		"StatusBadRequest": "400", "StatusUnauthorized": "401", "StatusNotFound": "404",
		"StatusConflict": "409", "StatusInternalServerError": "500", "StatusServiceUnavailable": "503",
	}
	entry := regexp.MustCompile(`\{\w+, http\.(\w+), "([a-z_]+)"\}`)
	for heading, source := range map[string]string{
		"### Nexus's errors":    "internal/api/error.go",
		"### A Keeper's errors": "internal/keeper/error.go",
	} {
		var answered, written []string
		for _, m := range entry.FindAllStringSubmatch(read(filepath.Join(root, source)), -1) {
			answered = append(answered, status[m[1]]+" "+m[2])
		}
		for _, row := range docTable(docSection(t, page, heading)) {
			written = append(written, row[0]+" "+row[1])
		}
		slices.Sort(answered)
		slices.Sort(written)
		if len(answered) == 0 || !slices.Equal(answered, written) {
			t.Errorf("%s answers\n%q\nand the page has\n%q", source, answered, written)
		}
	}
}

// TestDocReplaced wants the runbook to have, for each thing that can be said of a
// Keeper that was replaced, exactly one row, and no row for what is never said.
func TestDocReplaced(t *testing.T) {
	t.Parallel()
	root := docRoot(t)
	source := read(filepath.Join(root, "app", "nexus", "internal", "rootkey", "retire.go"))
	source = regexp.MustCompile(`" \+\s+"`).ReplaceAllString(source, "")
	said := regexp.MustCompile(`[dD]etail:\s+(?:fmt\.Sprintf\()?"([^"]+)"`).FindAllStringSubmatch(source, -1)
	rows := docTable(read(filepath.Join(root, "docs", "runbook", "keeper-replaced.md")))
	if len(said) == 0 || len(rows) == 0 {
		t.Fatalf("there are %d texts and %d rows", len(said), len(rows))
	}
	used := make([]bool, len(rows))
	for _, m := range said {
		text := strings.ReplaceAll(m[1], "%d", "2") // the page is about Keeper 2
		found := 0
		for i, row := range rows {
			// A row has how the text begins.
			if strings.HasPrefix(text, row[0]) {
				used[i] = true
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d rows are about %q", found, text)
		}
	}
	for i, row := range rows {
		if !used[i] {
			t.Errorf("nothing says %q", row[0])
		}
	}
}

// TestDocLinks follows every link to a file of the checkout, and wants every
// decision in the index.
func TestDocLinks(t *testing.T) {
	t.Parallel()
	root := docRoot(t)
	link := regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)\s]*)?\)`)
	linked := map[string]bool{}
	for _, page := range docPages(t, root) {
		for _, m := range link.FindAllStringSubmatch(read(filepath.Join(root, page)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(page), m[1])
			linked[target] = true
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	for _, page := range docPages(t, root)[1:] {
		if !linked[page] {
			t.Errorf("no page leads to %s", page)
		}
	}
}
