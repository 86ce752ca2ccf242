package render_test

import (
	"os/exec"
	"strings"
	"testing"
	"unicode"

	"github.com/spiffe/spike/app/pilot/internal/render"
)

// TestShellWord has bash read every word, and nothing in it reach a terminal as it
// is that would move the cursor.
func TestShellWord(t *testing.T) {
	words := []string{
		"", "web/db", "a b", "$(id)", "it's", `back\slash`, "`id`", "-n", "é", "~", "#", "!", "a;b", "*",
		"new\nline", "\x1b[2J", "bell\a7", "it's\ta\\tab", "\xff\xfe1", "\u202eback", "$'\n'", "\x7f",
	}
	for _, word := range words {
		quoted := render.ShellWord(word)
		if strings.ContainsFunc(quoted, func(r rune) bool { return !unicode.IsPrint(r) || r == '\ufffd' }) {
			t.Errorf("%q is shown as %q", word, quoted)
		}
		out, err := exec.CommandContext(t.Context(), "bash", "-c", "printf %s "+quoted).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: bash makes %q of %s: %v", word, out, quoted, err)
		}
	}
}
