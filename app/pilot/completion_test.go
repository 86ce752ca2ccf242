package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/policy"
)

// The package that most distributions have for bash must not be needed, nor be in the
// way.
const (
	bashCompletion        = "/usr/share/bash-completion/bash_completion"
	withoutBashCompletion = "! declare -F _get_comp_words_by_ref || exit 1"
	withBashCompletion    = ". " + bashCompletion + "; declare -F _get_comp_words_by_ref >/dev/null || exit 1"
)

// shells are those that there is a script for, and what each runs before it.
var shells = [...]struct{ test, name, before string }{
	{"bash", "bash", withoutBashCompletion},
	{"bash-completion", "bash", withBashCompletion},
	{"fish", "fish", ""},
	{"zsh", "zsh", ""},
}

// inShells runs a test in each shell, which has these secrets and files to complete.
func inShells(t *testing.T, test func(*world, *shell)) {
	for _, in := range shells {
		t.Run(in.test, func(t *testing.T) {
			t.Parallel()
			_, err := exec.LookPath(in.name)
			if err == nil && in.before == withBashCompletion {
				_, err = os.Stat(bashCompletion)
			}
			if err != nil {
				t.Skipf("scripts/test says that this is left out, and .ci/run installs what is missing: %v", err)
			}
			w := newWorld(t)
			defer w.close()
			for _, path := range []string{"web/db", "web/db", "web/db", "web/tls/cert", "web/tls/key", "odd/{x}", `ugly/(y)[*]?|+\z`, "zoo"} {
				w.secrets[path] = append(w.secrets[path], &kept{values: api.Values{"k": "v"}, created: w.tick()})
			}
			w.secrets["web/db"][1].deleted = &w.secrets["web/db"][1].created
			folder := t.TempDir()
			for _, name := range []string{"new file", "it's", "dir/key", ".hidden"} {
				write(t, filepath.Join(folder, name), "")
			}
			s := newShell(t, w, in.name, folder, in.before)
			test(w, s)
			s.leave()
		})
	}
}

// TestCompletion presses the tab key, and looks how the shell understands the line that
// comes of it.
func TestCompletion(t *testing.T) {
	inShells(t, func(_ *world, s *shell) {
		for _, c := range []struct{ keys, line, ran string }{
			{"sec\t", "secret ", "<secret>"},
			{"secret get web/d\t", "secret get web/db ", "<secret><get><web/db>"},
			{"secret get we\tt\tc\t", "secret get web/tls/cert ", "<secret><get><web/tls/cert>"},
			{"secret get -- zo\t", "secret get -- zoo ", "<secret><get><--><zoo>"},
			{"secret list --after=zo\t", "secret list --after=zoo ", "<secret><list><--after=zoo>"},

			// Versions: those that the command is for.
			{"secret undelete web/db --versions \t", "secret undelete web/db --versions 2 ", "<secret><undelete><web/db><--versions><2>"},
			{"secret undelete web/db --versions=\t", "secret undelete web/db --versions=2 ", "<secret><undelete><web/db><--versions=2>"},
			{"secret delete web/db --versions 1,\t", "secret delete web/db --versions 1,3 ", "<secret><delete><web/db><--versions><1,3>"},

			// A quote that is open stays one, and is closed behind a whole path alone.
			{`secret get "web/d` + "\t", `secret get "web/db" `, "<secret><get><web/db>"},
			{`secret get 'we` + "\tt\tk\t", `secret get 'web/tls/key' `, "<secret><get><web/tls/key>"},
			{`"secret" g'e't w"eb"/d` + "\t", "", `<secret><get><web/db>`},

			// What means something to a shell, however it was begun.
			{`secret get od` + "\t\\{\t", `secret get odd/\{x\} `, "<secret><get><odd/{x}>"},
			{`secret get 'odd/{` + "\t", `secret get 'odd/{x}' `, "<secret><get><odd/{x}>"},
			{`secret get ugly/` + "\t", `secret get ugly/\(y\)\[\*\]\?\|+\\z `, `<secret><get><ugly/(y)[*]?|+\z>`},
			{`secret get 'ugly/` + "\t", "", `<secret><get><ugly/(y)[*]?|+\z>`},
			{`secret get "ugly/` + "\t", "", `<secret><get><ugly/(y)[*]?|+\z>`},

			// Files, of which some have names that mean something, too.
			{"secret put a k=@n\t", `secret put a k=@new\ file `, "<secret><put><a><k=@new file>"},
			{"secret put a k=@i\t", `secret put a k=@it\'s `, "<secret><put><a><k=@it's>"},
			{`secret put a "k=@i` + "\t", `secret put a "k=@it's" `, "<secret><put><a><k=@it's>"},
			{`secret put a 'k=@i` + "\t", "", "<secret><put><a><k=@it's>"},
			{"secret put a k=@d\tk\t", "secret put a k=@dir/key ", "<secret><put><a><k=@dir/key>"},
			{"secret put a -- -k=@d\tk\t", "secret put a -- -k=@dir/key ", "<secret><put><a><--><-k=@dir/key>"},
			{"cipher encrypt --in d\tk\t", "cipher encrypt --in dir/key ", "<cipher><encrypt><--in><dir/key>"},
		} {
			s.completes("spike "+c.keys, "spike "+c.line, c.ran)
		}
		s.shows("spike operator recover --dir d\t", "spike operator recover --dir dir/")
		s.offersNothing("spike secret list --limit d\t")
		// Bash can take back a brace that is not quoted. The other two take it for an
		// expansion: what they made of it would be another path.
		if s.name == "bash" {
			s.completes("spike secret get odd/{\t", `spike secret get odd/\{x\} `, "<secret><get><odd/{x}>")
		} else {
			s.offersNothing("spike secret get odd/{\t")
		}
		// Nothing that was typed is run before its time.
		s.shows("spike secret get \"$(touch trace)\" --ke\t", `spike secret get "$(touch trace)" --keys `)
		if _, err := os.Stat(filepath.Join(s.cmd.Dir, "trace")); !errors.Is(err, fs.ErrNotExist) {
			s.t.Errorf("%s ran what was typed: %v", s.name, err)
		}

		s.lists("spike secret get web/", "web/db", "web/tls/")
		shown := s.lists("spike secret get web/db --version ", "3", "1", "live, written 2026-01-02T")
		if strings.Contains(strings.Join(shown, "\n"), "deleted") {
			s.t.Errorf("%s offers a deleted version: %q", s.name, shown)
		}
	})
}

// TestCompletionIsSilent takes away what completion needs. Nothing may come into the
// line, and what is typed next is soon there.
func TestCompletionIsSilent(t *testing.T) {
	inShells(t, func(w *world, s *shell) {
		nothing := func() {
			s.t.Helper()
			s.offersNothing("spike secret get we\t")
		}
		w.become(api.StateLocked, "/spike/pilot/role/superuser")
		nothing()
		s.offersNothing("spike secret get 'we\t")
		s.offersNothing("spike secret get web/db --version \t")
		w.become(api.StateOpen, "/stranger")
		nothing()
		w.become(api.StateOpen)
		nothing()
		w.become("hangs", "/spike/pilot/role/superuser")
		s.command("export AS_IS=-as-is")
		nothing()
		s.command("export AS_IS=")
		w.become(api.StateOpen, "/spike/pilot/role/superuser")
		s.completes("spike secret get web/d\t", "spike secret get web/db ", "<secret><get><web/db>")
		w.stopNexus()
		nothing()
		w.stopAPI()
		nothing()
		s.command("export SPIFFE_ENDPOINT_SOCKET=")
		nothing()
		s.command("export PATH=/nowhere") // and no spike
		nothing()
		s.offersNothing("./spike secret get we\t")
	})
}

// TestCompletionOfAWorkload has one that may list some paths. It is offered those, and
// learns of no others.
func TestCompletionOfAWorkload(t *testing.T) {
	inShells(t, func(w *world, s *shell) {
		p, err := policy.Compile(policy.Policy{
			Name: "web", SPIFFEIDPattern: `^spiffe://spike\.ist/app$`, PathPattern: "^web/tls/.*$", Permissions: policy.List,
		})
		if err != nil {
			s.t.Fatal(err)
		}
		w.mu.Lock()
		w.policies["web"] = p
		w.mu.Unlock()
		w.become(api.StateOpen, "/app")
		s.completes("spike secret get \t\tk\t", "spike secret get web/tls/key ", "<secret><get><web/tls/key>")
		s.offersNothing("spike secret get web/d\t")
		s.offersNothing("spike secret get z\t")
		// It may list, and not read.
		s.offersNothing("spike secret get web/tls/key --version \t")
	})
}
