package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// completePut offers paths for the first argument, and files behind KEY=@ for the
// others. The names of keys are in the values, which are not read for this.
func (a *app) completePut(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	key, name, ok := strings.Cut(begun, "=@")
	if len(args) == 0 || !ok || key == "" || strings.Contains(key, "=") {
		return a.completeFirstPath(cmd, args, begun)
	}
	names := filesBeginning(name)
	for i := range names {
		names[i] = key + "=@" + names[i]
	}
	return names, howToGoOn(names)
}

// filesBeginning returns the files and folders whose names begin with begun. For a
// shell a file's name does not begin in the middle of a word, so it would have none.
func filesBeginning(begun string) (names []string) {
	folder, name := filepath.Split(begun)
	from := folder
	if from == "" {
		from = "."
	}
	// What cannot be read has nothing to offer.
	entries, _ := os.ReadDir(from)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		file := e.Name()
		return !strings.HasPrefix(file, name) || file[0] == '.' && name == "" || !printable(file)
	})
	// Of more than anyone reads, the first and the last have in common what all have.
	if last := len(entries) - 1; last >= completionNames {
		entries = append(entries[:completionNames-1], entries[last])
	}
	for _, e := range entries {
		file := folder + e.Name()
		info, err := os.Stat(filepath.Join(from, e.Name())) // of what a link leads to
		if err == nil && info.IsDir() {
			file += "/"
		}
		names = append(names, file)
	}
	return names
}

// printable reports whether name can be a line of what a shell is answered, and does
// nothing to a terminal.
func printable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}
