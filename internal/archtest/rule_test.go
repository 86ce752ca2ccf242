package archtest

import (
	"strings"
	"testing"
)

// only checks that there is one violation and that it says want, or none when
// want is empty.
func only(t *testing.T, violations []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(violations) > 0:
		t.Errorf("complains: %q", violations)
	case want != "" && (len(violations) != 1 || !strings.Contains(violations[0], want)):
		t.Errorf("complains %q, and not of %q", violations, want)
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	const nexus = prefix + "app/nexus/internal/"
	for name, tc := range map[string]struct {
		p    Package
		want string
	}{
		"in order": {Package{ImportPath: nexus + "server", Imports: []string{nexus + "vault", "net/http"}}, ""},
		"shared imports a program": {
			Package{ImportPath: prefix + "internal/client", Imports: []string{prefix + "app/pilot/internal/cli"}},
			"internal/client imports app/pilot",
		},
		"shared tests import a program": {
			Package{ImportPath: prefix + "internal/client", XTestImports: []string{nexus + "vault"}}, "internal/client imports app/nexus",
		},
		"an import that nobody foresaw": {Package{ImportPath: nexus + "vault", Imports: []string{nexus + "sealer"}}, "vault imports sealer"},
		"vault imports a store":         {Package{ImportPath: nexus + "vault", Imports: []string{nexus + "store/sqlite"}}, "vault imports store"},
		"vault imports the server":      {Package{ImportPath: nexus + "vault", Imports: []string{nexus + "server"}}, "vault imports server"},
		"seal imports vault":            {Package{ImportPath: nexus + "seal", Imports: []string{nexus + "vault"}}, "seal imports vault"},
		"a store imports the server":    {Package{ImportPath: nexus + "store/sqlite", Imports: []string{nexus + "server"}}, "store/sqlite imports server"},
		"a store imports vault":         {Package{ImportPath: nexus + "store/sqlite", Imports: []string{nexus + "vault", "database/sql"}}, ""},
		"a new package":                 {Package{ImportPath: nexus + "novelty"}, "say in archtest"},
		"a reader that asks the vault":  {Package{ImportPath: nexus + "format", Imports: []string{nexus + "vault"}}, "format imports vault"},
		"a reader whose tests do":       {Package{ImportPath: nexus + "format", TestImports: []string{nexus + "vault"}}, ""},
		"a reader with another of ours": {Package{ImportPath: nexus + "format", Deps: []string{"hash", prefix + "internal/shamir"}}, "internal/shamir"},
		"a reader in a program": {
			Package{ImportPath: prefix + "app/nexus", Name: "main", Deps: []string{nexus + "format"}}, "it is for tests",
		},
		"HTTP in the vault":            {Package{ImportPath: nexus + "vault", Imports: []string{"net/http"}}, "net/http"},
		"SQL in the vault":             {Package{ImportPath: nexus + "vault", Imports: []string{"database/sql/driver"}}, "database/sql/driver"},
		"the environment in the vault": {Package{ImportPath: nexus + "vault", Imports: []string{"os"}}, "imports os"},
		"secret with a library": {
			Package{ImportPath: prefix + "internal/secret", Deps: []string{"sync", "golang.org/x/sys/unix"}}, "golang.org/x/sys/unix",
		},
		"secret with another of ours": {
			Package{ImportPath: prefix + "internal/secret", Deps: []string{prefix + "internal/api"}}, "internal/api",
		},
		"policy with another of ours": {
			Package{ImportPath: prefix + "internal/policy", Deps: []string{"regexp", prefix + "internal/api"}}, "internal/api",
		},
		"policy with HTTP":  {Package{ImportPath: prefix + "internal/policy", Deps: []string{"net/http"}}, "net/http"},
		"decision in order": {Package{ImportPath: prefix + "internal/decision", Imports: []string{"slices", prefix + "internal/policy"}}, ""},
		"decision by the time of day": {
			Package{ImportPath: prefix + "internal/decision", Imports: []string{"time"}}, "internal/decision imports time",
		},
		"decision with another of ours": {
			Package{ImportPath: prefix + "internal/decision", Imports: []string{prefix + "internal/mtls"}}, "internal/mtls",
		},
		"a Keeper with circl": {
			Package{ImportPath: prefix + "app/keeper", Name: "main", Deps: []string{"github.com/cloudflare/circl/group"}}, "circl",
		},
		"a Keeper with a database": {
			Package{ImportPath: prefix + "app/keeper", Name: "main", Deps: []string{"modernc.org/sqlite"}}, "modernc.org/sqlite",
		},
		"a Keeper with a CLI library": {
			Package{ImportPath: prefix + "app/keeper", Name: "main", Deps: []string{"github.com/spf13/pflag"}}, "pflag",
		},
		"a Keeper with charts": {
			Package{ImportPath: prefix + "app/keeper", Name: "main", Deps: []string{"gonum.org/v1/plot"}}, "gonum.org/v1/plot",
		},
		"Pilot with a CLI library": {
			Package{ImportPath: prefix + "app/pilot", Name: "main", Deps: []string{"github.com/spf13/cobra"}}, "",
		},
		"Pilot with SQL": {Package{ImportPath: prefix + "app/pilot", Name: "main", Deps: []string{"database/sql"}}, "database/sql"},
		"Nexus with both": {
			Package{ImportPath: prefix + "app/nexus", Name: "main", Deps: []string{"modernc.org/sqlite", "github.com/cloudflare/circl/group"}}, "",
		},
		"somebody else's": {Package{ImportPath: "example.org/x", Imports: []string{nexus + "vault"}}, ""},
	} {
		t.Run(name, func(t *testing.T) { only(t, Imports([]Package{tc.p}), tc.want) })
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, code, want string }{
		"in order": {"x.go", `import ("errors"; "regexp"; "os")
			var (
				ErrX = errors.New("x")
				expr = regexp.MustCompile("x")
				table = [...]string{"a"}
				_ any = (*os.File)(nil)
			)
			const limit = 1
			var local = [2]int{1, 2}
			func f() { var x int; x++; _ = os.Args }`, ""},
		"init":                     {"x.go", "func init() {}", "no init"},
		"init in a test":           {"x_test.go", "func init() {}", "no init"},
		"a method named init":      {"x.go", "type t int\nfunc (t) init() {}", ""},
		"a variable without value": {"x.go", "var count int", "count"},
		"a map":                    {"x.go", "var table = map[string]int{}", "table"},
		"a slice":                  {"x.go", "var list = []int{1}", "list"},
		"a pointer":                {"x.go", `import "net/http"` + "\nvar client = &http.Client{}", "client"},
		"a mutex":                  {"x.go", `import "sync"` + "\nvar mu sync.Mutex", "mu"},
		"some other call":          {"x.go", `import "time"` + "\nvar began = time.Now()", "began"},
		"a false errors":           {"x.go", `import errors "log"` + "\nvar x = errors.New(nil, \"\", 0)", "x"},
		"embedded files":           {"x.go", `import "embed"` + "\n//go:embed x\nvar files embed.FS", ""},
		"other files":              {"x.go", `import "embed"` + "\nvar files = embed.FS{}", "files"},
		"a variable in a test":     {"x_test.go", "var count int", ""},
		"exit":                     {"run.go", `import "os"` + "\nfunc f() { os.Exit(1) }", "os.Exit"},
		"exit by another name":     {"run.go", `import system "os"` + "\nfunc f() { system.Exit(1) }", "os.Exit"},
		"exit in main.go":          {"app/x/main.go", `import "os"` + "\nfunc f() { os.Exit(1) }", ""},
		"fatal log":                {"run.go", `import "log"` + "\nfunc f() { log.Fatalf(\"x\") }", "log.Fatalf"},
		"the environment":          {"run.go", `import "os"` + "\nfunc f() string { return os.Getenv(\"X\") }", "os.Getenv"},
		"the environment, handed on": {"run.go", `import "os"
			func g(func(string) (string, bool)) {}
			func f() { g(os.LookupEnv) }`, "os.LookupEnv"},
		"the environment in config.go": {"app/x/config.go", `import "os"` + "\nfunc f() string { return os.Getenv(\"X\") }", ""},
		"the environment in a test":    {"x_test.go", `import "os"` + "\nfunc f() string { return os.Getenv(\"X\") }", ""},
		"a long main.go":               {"main.go", strings.Repeat("//\n", 60), "lines"},
		"not Go":                       {"x.go", "fun f()", "expected"},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, Source(tc.file, []byte("package x\n"+tc.code+"\n")), tc.want)
		})
	}
	t.Run("a failpoint", func(t *testing.T) {
		const code = "package x\nimport \"os\"\nvar hits int\nfunc f() string { return os.Getenv(\"X\") }\n"
		only(t, Source("on.go", []byte("//go:build failpoint\n\n"+code)), "")
		if got := Source("on.go", []byte("//go:build !failpoint\n\n"+code)); len(got) != 2 {
			t.Errorf("of an ordinary build it complains %q", got)
		}
	})
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, want string }{
		"in order":                 {"app/nexus/internal/vault/vault.go", ""},
		"a file at the top":        {"TODO.md", "TODO.md"},
		"a folder at the top":      {"pkg/x/x.go", "pkg"},
		"a plural":                 {"app/nexus/internal/policies/x.go", "app/nexus/internal/policies"},
		"a plural, further up":     {"internal/utils/text/x.go", "internal/utils"},
		"words that end like that": {"internal/mtls/process/status/x.go", ""},
		"test data":                {"app/pilot/testdata/scripts/x.txt", ""},
		"the folders at the top":   {"scripts/start", ""},
		"a decision":               {"docs/decision/0001.md", ""},
	} {
		t.Run(name, func(t *testing.T) { only(t, Layout([]string{tc.file}), tc.want) })
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"in order":                         {"see https://github.com/x/actions/wo" + "rk/x and go.dev/issue/27505, #1", ""},
		"a working folder":                 {"cd /wo" + "rk/main", "/wo"},
		"in quotes":                        {`"/wo` + `rk/x"`, "/wo"},
		"a shared folder":                  {"see ../sha" + "red/design.md", "sha"},
		"a number":                         {"as iss" + "ue 12 says", "iss" + "ue 1"},
		"a number at the end of a subject": {"Fix it (#" + "7)", "7"},
		"a binary":                         {"\x00 /wo" + "rk/", ""},
	} {
		t.Run(name, func(t *testing.T) { only(t, Text("x.md", []byte("fine\n"+tc.text+"\n")), tc.want) })
	}
}
