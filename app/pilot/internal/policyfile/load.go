package policyfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds a file: ten thousand policies fit.
const maxFile = 8 << 20

// Document is a policy as it is written. What is not there, or not readable, has
// the line 0, and a Problem says so.
type Document struct {
	File                 string
	Line                 int
	Name, SPIFFEID, Path Text
	Permissions          []Text
}

// The keys of a policy. The last three are what Nexus adds: what "policy get -o
// yaml" wrote can be applied.
const (
	keyName        = "name"
	keySPIFFEID    = "spiffeidPattern"
	keyPath        = "pathPattern"
	keyPermissions = "permissions"
	keyCreated     = "createdAt"
	keyUpdated     = "updatedAt"
)

// Parse reads the policies in one file's content: one in each document.
func Parse(file string, content []byte) ([]Document, []Problem) {
	r := &reader{file: file}
	var list []Document
	for _, root := range r.documents(content) {
		values, misspelt := r.mapping(root, "a policy", []string{keyName, keySPIFFEID, keyPath, keyPermissions, keyCreated, keyUpdated})
		if values == nil {
			continue
		}
		d := Document{File: file, Line: root.Line}
		for key, into := range map[string]*Text{keyName: &d.Name, keySPIFFEID: &d.SPIFFEID, keyPath: &d.Path} {
			if n := values[key]; n != nil {
				*into = r.text(n, key)
			}
		}
		for _, key := range [...]string{keyName, keySPIFFEID, keyPath, keyPermissions} {
			if values[key] == nil && !slices.Contains(misspelt, key) {
				r.complain(root.Line, "", "The policy has no %s.", key)
			}
		}
		if n := values[keyPermissions]; n != nil {
			before := len(r.problems)
			d.Permissions = r.texts(n, keyPermissions)
			if len(d.Permissions) == 0 && len(r.problems) == before {
				r.complain(n.Line, "", "The policy has no permission.")
			}
		}
		list = append(list, d)
	}
	if len(list) == 0 && len(r.problems) == 0 {
		r.complain(0, "", "There is no policy in it.")
	}
	return list, r.problems
}

// Load reads a file, the files *.yaml and *.yml of a folder in the order of their
// names, or, for "-", input. The error is for what cannot be read; what is wrong in
// it are problems.
func Load(name string, input io.Reader) (list []Document, problems []Problem, err error) {
	files, err := expand(name)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		content, err := read(file, input)
		if err != nil {
			return nil, nil, err
		}
		some, wrong := Parse(shownName(file), content)
		list, problems = append(list, some...), append(problems, wrong...)
	}
	return list, problems, nil
}

// shownName is what a file is called in problems.
func shownName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

func expand(name string) (files []string, err error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		// Editors leave hidden files behind.
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the folder %s has no files *.yaml or *.yml", name)
	}
	return files, nil
}

func read(name string, input io.Reader) (content []byte, err error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		// It is only read, so that nothing can go wrong here.
		defer func() { _ = file.Close() }()
		input = file
	}
	if input == nil {
		return nil, errors.New("standard input is a terminal; name a file")
	}
	content, err = io.ReadAll(io.LimitReader(input, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("the file %s is larger than %d MiB", name, maxFile>>20)
	}
	return content, err
}
