// Package archtest holds the rules by which the code is laid out: who may import
// whom, where the environment is read and programs end, what a package may keep,
// and what lies where. Its tests check the whole repository, and each rule against
// code that breaks it.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// prefix begins the import path of everything that is ours.
const prefix = "github.com/spiffe/spike/"

// formatReader is the second reader of the store, which tests compare Nexus with.
const formatReader = "app/nexus/internal/format"

// Package is what go list says of a package.
type Package struct {
	ImportPath   string
	Name         string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string // all that it imports, in however many steps
}

// nexusImports says which packages of Nexus each of them may import. Only main,
// which puts them together, may import any.
func nexusImports(from string) (to []string, known bool) {
	switch {
	case from == "failpoint", from == "format":
		return nil, true
	case from == "seal":
		return []string{"failpoint"}, true
	case from == "vault":
		return []string{"seal", "failpoint"}, true
	case from == "audit":
		return []string{"vault"}, true
	case from == "server":
		return []string{"vault"}, true
	case from == "rootkey":
		return []string{"vault", "failpoint"}, true
	case below(from, "store"), from == "torture":
		return []string{"vault", "seal", "failpoint", "store"}, true
	}
	return nil, false
}

// Imports checks who imports whom, and returns a sentence for each violation.
func Imports(packages []Package) (violations []string) {
	complain := func(format string, args ...any) {
		violations = append(violations, fmt.Sprintf(format, args...))
	}
	for _, p := range packages {
		from, ours := strings.CutPrefix(p.ImportPath, prefix)
		if !ours {
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			to, ours := strings.CutPrefix(imported, prefix)
			if ours && below(from, "internal") && below(to, "app") {
				complain("%s imports %s: what is shared knows no program", from, to)
			}
		}
		if part, ok := strings.CutPrefix(from, "app/nexus/internal/"); ok {
			nexusPackage(p, part, complain)
		}
		if from == "internal/decision" {
			decisionPackage(p, complain)
		}
		for _, dep := range p.Deps {
			if (from == "internal/secret" || from == "internal/policy") && !standard(dep) {
				complain("%s depends on %s: it may have the standard library alone", from, dep)
			}
			if from == formatReader && !standard(dep) {
				complain("%s depends on %s: it reads the store from its description, with the standard library alone", from, dep)
			}
			if from == "internal/policy" && (dep == "net" || below(dep, "net/http") || below(dep, "database/sql")) {
				complain("%s depends on %s: what a policy says depends on nothing else", from, dep)
			}
			if p.Name == "main" {
				linked(from, dep, complain)
			}
		}
	}
	return violations
}

func nexusPackage(p Package, from string, complain func(string, ...any)) {
	allowed, known := nexusImports(from)
	if !known {
		complain("app/nexus/internal/%s: say in archtest what it may import", from)
	}
	for _, imported := range p.Imports {
		to, ok := strings.CutPrefix(imported, prefix+"app/nexus/internal/")
		if ok && !slices.ContainsFunc(allowed, func(folder string) bool { return below(to, folder) }) {
			complain("app/nexus/internal/%s imports %s; it may import %q", from, to, allowed)
		}
		switch {
		case from != "vault" && from != "seal":
		case imported == "net/http", below(imported, "database/sql"), imported == "os", imported == "net":
			complain("app/nexus/internal/%s imports %s: the domain knows no HTTP, no SQL and no environment", from, imported)
		}
	}
}

// decisionPackage checks what decides: Pilot gives it no other world than Nexus.
func decisionPackage(p Package, complain func(string, ...any)) {
	for _, imported := range p.Imports {
		switch to, ours := strings.CutPrefix(imported, prefix); {
		case ours && (to == "internal/policy" || to == "internal/role" || to == "internal/api"):
		case ours, !standard(imported), imported == "os", imported == "time", below(imported, "net"), below(imported, "database/sql"):
			complain("internal/decision imports %s: who may do what follows from policies, a role and a path", imported)
		}
	}
}

// linked checks what a program links.
func linked(program, dep string, complain func(string, ...any)) {
	banned := func(modules ...string) bool {
		return slices.ContainsFunc(modules, func(m string) bool { return below(dep, m) })
	}
	switch {
	case !strings.HasPrefix(program, "app/"):
	case dep == prefix+formatReader:
		complain("%s links %s, which keeps keys in ordinary memory: it is for tests", program, dep)
	case program != "app/nexus" && banned("github.com/cloudflare/circl", "modernc.org", "database/sql"):
		complain("%s links %s, which only app/nexus may", program, dep)
	case program != "app/bench" && banned("gonum.org"):
		complain("%s links %s, which only app/bench may", program, dep)
	case program == "app/keeper" && banned("github.com/spf13"):
		complain("%s links %s: a Keeper has no CLI library", program, dep)
	}
}

// below reports whether an import path is folder, or in it.
func below(importPath, folder string) bool {
	return importPath == folder || strings.HasPrefix(importPath, folder+"/")
}

// standard reports whether an import path is the standard library's: its first
// element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}
