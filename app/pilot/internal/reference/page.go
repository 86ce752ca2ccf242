package main

import (
	"bytes"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// folders are where the pages are, below docs.
var folders = [...]string{"cli", "man"}

// head says in every Markdown page where a change belongs.
const head = "<!-- Made from the commands. To change it, change them, and run: go generate ./app/pilot -->\n\n"

// pages returns every page by its file name. They depend on the commands alone:
// no date, no version.
func pages(root *cobra.Command) (map[string][]byte, error) {
	root.DisableAutoGenTag = true
	files := map[string][]byte{}
	return files, add(files, root)
}

// add adds the pages of cmd and of the commands below it.
func add(files map[string][]byte, cmd *cobra.Command) error {
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if err := add(files, c); err != nil {
			return err
		}
	}
	cmd.Long = markdown(cmd.Long)
	// A command that was not run has not got these flags yet.
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "_")

	page := bytes.NewBufferString(head)
	if err := doc.GenMarkdown(cmd, page); err != nil {
		return err
	}
	files[path.Join(folders[0], name+".md")] = append(bytes.TrimRight(page.Bytes(), "\n"), '\n')

	page = &bytes.Buffer{}
	header := &doc.GenManHeader{Section: "1", Source: "SPIKE", Manual: "SPIKE", Date: &time.Time{}}
	if err := doc.GenMan(cmd, header, page); err != nil {
		return err
	}
	// Without a date the library would take today's, and every day make other pages.
	dated := bytes.Replace(page.Bytes(), []byte(`"Jan 0001"`), []byte(`""`), 1)
	files[path.Join(folders[1], strings.ReplaceAll(name, "_", "-")+".1")] = dated
	return nil
}

// markdown makes Markdown of a help text: what is indented, by blanks or by a tab, is
// a table or a command, whose lines must stay as they are.
func markdown(help string) string {
	var out strings.Builder
	lines := strings.Split(help, "\n")
	fenced := false
	for i, line := range lines {
		goesOn := fenced && line == "" && i+1 < len(lines) && indented(lines[i+1])
		if fence := indented(line) || goesOn; fence != fenced {
			fenced = fence
			// A fence ends where the blank line is that would end it anyway, and begins
			// behind one, which a list of exit codes under its title does not have.
			if fenced && i > 0 && lines[i-1] != "" {
				out.WriteByte('\n')
			}
			out.WriteString("```\n")
		}
		if !fenced {
			line = strings.NewReplacer("<", `\<`, "*", `\*`).Replace(line)
		}
		out.WriteString(line)
		if i+1 < len(lines) {
			out.WriteByte('\n')
		}
	}
	if fenced {
		out.WriteString("\n```")
	}
	return out.String()
}

func indented(line string) bool {
	return strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "\t")
}
