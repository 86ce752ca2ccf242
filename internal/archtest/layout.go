package archtest

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// topNames is everything that the top folder may have. What git ignores is not
// looked at.
var topNames = [...]string{
	".ci", ".dockerignore", ".env", ".github", ".gitignore", ".golangci.yml", "LICENSE", "README.md",
	"app", "config", "docker-compose.yaml", "docs", "go.work", "go.work.sum", "internal", "scripts",
}

// Layout checks the names of all files, given as paths from the top folder.
func Layout(names []string) (violations []string) {
	folders := map[string]bool{}
	for _, name := range names {
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains(topNames[:], top) && !folders[top] {
			folders[top] = true
			violations = append(violations, fmt.Sprintf("%s: the top folder has no place for it", top))
		}
		for dir := path.Dir(name); dir != "." && !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
			if strings.Contains(dir, "/") && plural(path.Base(dir)) && !strings.Contains(dir, "/testdata") {
				violations = append(violations, fmt.Sprintf("%s: names of folders are singular", dir))
			}
		}
	}
	slices.Sort(violations)
	return violations
}

// plural goes by the last letters, which is right for all but a few words.
func plural(word string) bool {
	for _, singular := range [...]string{"ss", "us", "is", "tls"} {
		if strings.HasSuffix(word, singular) {
			return false
		}
	}
	return strings.HasSuffix(word, "s")
}

// outside is what no file speaks of: places and numbers that mean something only
// where the work is organised. Written in pieces, so as not to match itself.
var outside = regexp.MustCompile(
	`(^|[^A-Za-z0-9_./-])/wo` + `rk/` + `|\.\./sha` + `red\b` + `|(?i:\bissue)s?\s+#?[0-9]` + `|\(#[0-9]+\)`)

// Text checks what one file says.
func Text(name string, content []byte) (violations []string) {
	if bytes.IndexByte(content, 0) >= 0 || path.Base(name) == "go.sum" || path.Base(name) == "go.work.sum" {
		return nil
	}
	line := 0
	for text := range bytes.Lines(content) {
		line++
		if found := outside.Find(text); found != nil {
			violations = append(violations, fmt.Sprintf("%s:%d: %q means nothing to a reader of this repository",
				name, line, bytes.TrimSpace(found)))
		}
	}
	return violations
}
