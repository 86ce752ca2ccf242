package clustertest

import (
	"fmt"
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
)

// The documentation is run. In README.md and docs:
//
//	sh      is a command for bash; a page's commands run in one shell, in order
//	output  is what the commands before it print; … stands for anything in a line,
//	        and a line that is only … for any lines
//
// Spaces count as one. Every other kind of block is not run; one of no kind is
// refused, so that none escapes by a slip.

// docBlock is a fenced block of a page.
type docBlock struct {
	line int // of its fence, from 1
	kind string
	text string
}

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

func docBlocks(text string) (blocks []docBlock, err error) {
	var open *docBlock
	number := 0
	for line := range strings.Lines(text) {
		number++
		kind, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && fence:
			open = &docBlock{line: number, kind: kind}
		case open != nil && fence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.line)
	}
	for i, b := range blocks {
		switch {
		case b.kind == "":
			return nil, fmt.Errorf("line %d: the block has no kind: sh, output, text, …", b.line)
		case b.kind == "output" && (i == 0 || blocks[i-1].kind != "sh"):
			return nil, fmt.Errorf("line %d: no command stands before this output", b.line)
		}
	}
	return blocks, nil
}

// docRun runs a page's commands and returns what is wrong with them. plain turns
// what they printed into what a reader would see.
func docRun(t *testing.T, c *checkout, env []string, page, text string, plain func(string) string) error {
	t.Helper()
	blocks, err := docBlocks(text)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	outputs := t.TempDir()
	var script strings.Builder
	for i, b := range blocks {
		if b.kind == "sh" {
			fmt.Fprintf(&script, "exec >'%s/%d' 2>&1\n%s", outputs, i, b.text)
		}
	}
	file := filepath.Join(outputs, "page.sh")
	must(t, os.WriteFile(file, []byte(script.String()), 0o600))
	result := c.run(t.Context(), t, env, "/bin/bash", "-eu", file)

	last, printed := -1, map[int]string{}
	for i, b := range blocks {
		content, err := os.ReadFile(filepath.Join(outputs, strconv.Itoa(i)))
		if b.kind == "sh" && err == nil {
			last, printed[i] = i, plain(string(content))
		}
	}
	if result.Code != 0 {
		if last < 0 {
			return fmt.Errorf("%s: bash cannot read its commands: %s", page, result.Stderr)
		}
		return fmt.Errorf("%s:%d: the exit code is %d:\n%s\n%s", page, blocks[last].line, result.Code, blocks[last].text, printed[last])
	}
	for i, b := range blocks {
		if b.kind == "output" && !docMatches(b.text, printed[i-1]) {
			return fmt.Errorf("%s:%d: this should be printed:\n%s\nand this was:\n%s", page, b.line, b.text, printed[i-1])
		}
	}
	return nil
}

func docMatches(want, got string) bool {
	var pattern strings.Builder
	for _, line := range docLines(want) {
		if line == "…" {
			pattern.WriteString(`(.*\n)*?`)
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern.WriteString(strings.Join(parts, ".*") + `\n`)
	}
	lines := strings.Join(docLines(got), "\n") + "\n"
	return regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(lines)
}

// docLines are the lines of a text with single spaces, without empty ones at its
// ends.
func docLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
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

// TestDocRunNotices has pages that must not pass.
func TestDocRunNotices(t *testing.T) {
	t.Parallel()
	c := &checkout{dir: t.TempDir(), user: docReader(t), path: os.Getenv("PATH")}
	same := func(s string) string { return s }
	for name, text := range map[string]string{
		"a command that fails":      "```sh\ntrue\n```\n\n```sh\necho before\nfalse\ntrue\n```\n",
		"a command in a pipe":       "```sh\nset -o pipefail\nfalse | cat\n```\n",
		"an unset variable":         "```sh\necho $not_there\n```\n",
		"a word that is no command": "```sh\nspike-frobnicate\n```\n",
		"other output":              "```sh\necho one\n```\n```output\ntwo\n```\n",
		"a missing line":            "```sh\necho one\n```\n```output\none\ntwo\n```\n",
		"a line too many":           "```sh\necho one; echo two\n```\n```output\none\n```\n",
		"output of nothing":         "```output\none\n```\n",
		"no kind":                   "```\ntrue\n```\n",
		"no end":                    "```sh\ntrue\n",
	} {
		if docRun(t, c, nil, "page", text, same) == nil {
			t.Errorf("%s was not noticed", name)
		}
	}
	good := "```sh\na=1\n```\nText.\n```sh\necho \"$a  2 $RANDOM\"; printf 'x\\ny\\nend'; echo >&2\n```\n```output\n1 2 …\n…\nend\n```\n```text\nfalse\n```\n"
	if err := docRun(t, c, nil, "page", good, same); err != nil {
		t.Error(err)
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
		if !strings.HasPrefix(line, "| `") {
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
	if told := docLines(codes); !slices.Equal(told, written) {
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
