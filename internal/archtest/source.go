package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mainLines is how long a main.go may be.
const mainLines = 50

// Source checks one Go file by itself. name is its path from the top folder.
func Source(name string, content []byte) (violations []string) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	complain := func(at ast.Node, format string, args ...any) {
		violations = append(violations, fmt.Sprintf("%s: %s", files.Position(at.Pos()), fmt.Sprintf(format, args...)))
	}
	base := path.Base(name)
	isTest, isMain := strings.HasSuffix(base, "_test.go"), base == "main.go"
	s := source{file: file, complain: complain}
	s.noInit()
	if isTest || onlyTagged(content, "failpoint") {
		return violations
	}
	s.noMutable()
	if !isMain {
		s.noCalls("programs end in main.go alone", map[string][]string{
			"os": {"Exit"}, "log": {"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
		})
	}
	if !isMain && base != "config.go" {
		s.noCalls("the environment is read in config.go alone", map[string][]string{
			"os": {"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, "syscall": {"Getenv", "Environ"},
		})
	}
	if lines := files.File(file.Pos()).LineCount() - 1; isMain && lines > mainLines {
		complain(file, "main.go has %d lines, and may have %d: what it does belongs into run.go", lines, mainLines)
	}
	return violations
}

// onlyTagged reports whether a file is built with a tag alone, which no shipped
// program is.
func onlyTagged(content []byte, tag string) bool {
	first, _, _ := strings.Cut(string(content), "\n")
	return first == "//go:build "+tag
}

type source struct {
	file     *ast.File
	complain func(at ast.Node, format string, args ...any)
}

func (s *source) noInit() {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			s.complain(f, "there is no init: what must be made is made by main")
		}
	}
}

// noMutable lets package variables be only what nothing would change: errors,
// compiled expressions, tables in arrays, files that the compiler put in, and assertions
// that a type fits.
func (s *source) noMutable() {
	for _, d := range s.file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, spec := range decl.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			if pkg, name := s.selected(v.Type); pkg == "embed" && name == "FS" && len(v.Values) == 0 {
				continue
			}
			for i, name := range v.Names {
				if name.Name != "_" && (i >= len(v.Values) || !s.constant(v.Values[i])) {
					s.complain(name, "the package variable %s is neither an error, nor a compiled expression, nor an array", name.Name)
				}
			}
		}
	}
}

// constant reports whether a variable with this value is one in name only.
func (s *source) constant(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CallExpr:
		pkg, name := s.selected(v.Fun)
		switch pkg + "." + name {
		case "errors.New", "fmt.Errorf", "regexp.MustCompile":
			return true
		}
	case *ast.CompositeLit:
		array, ok := v.Type.(*ast.ArrayType)
		return ok && array.Len != nil
	}
	return false
}

// noCalls complains about every use of the functions, called or not.
func (s *source) noCalls(why string, functions map[string][]string) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			pkg, name := s.selected(e)
			if slices.Contains(functions[pkg], name) {
				s.complain(n, "%s.%s: %s", pkg, name, why)
			}
		}
		return true
	})
}

// selected resolves pkg.Name to the import path, under whatever name the file
// imports it, and the name.
func (s *source) selected(e ast.Expr) (importPath, name string) {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	ident, ok := selector.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	for _, spec := range s.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := path.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == ident.Name {
			return imported, selector.Sel.Name
		}
	}
	return "", ""
}
