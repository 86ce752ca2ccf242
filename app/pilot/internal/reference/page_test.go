package main

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/cli"
)

// TestReferenceIsUpToDate compares the committed pages with those that the
// commands make.
func TestReferenceIsUpToDate(t *testing.T) {
	want, err := pages(cli.New(cli.Deps{}))
	if err != nil {
		t.Fatal(err)
	}
	docs := filepath.Join("..", "..", "..", "..", "docs")
	got := map[string][]byte{}
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(docs, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(folder, e.Name())
			content, err := os.ReadFile(filepath.Join(docs, name))
			if err != nil {
				t.Fatal(err)
			}
			got[name] = content
		}
	}
	if !maps.EqualFunc(got, want, bytes.Equal) {
		for name := range want {
			if !bytes.Equal(got[name], want[name]) {
				t.Errorf("docs/%s is not what the command's help makes", name)
			}
		}
		for name := range got {
			if want[name] == nil {
				t.Errorf("docs/%s is of no command", name)
			}
		}
		t.Error("Bring the pages up to date: go generate ./app/pilot")
	}
}

func TestMarkdown(t *testing.T) {
	for help, want := range map[string]string{
		"":                    "",
		"one\ntwo":            "one\ntwo",
		"*a* <b>":             `\*a\* \<b>`,
		"a\n\n  b *\n\nc":     "a\n\n```\n  b *\n```\n\nc",
		"a:\n  b\n  c":        "a:\n\n```\n  b\n  c\n```",
		"a <b>:\n\n  c <(d)":  "a \\<b>:\n\n```\n  c <(d)\n```",
		"a:\n\n\tb <(c)\n\nd": "a:\n\n```\n\tb <(c)\n```\n\nd",
		"  a\n\n  b\nc":       "```\n  a\n\n  b\n```\nc",
	} {
		if got := markdown(help); got != want {
			t.Errorf("%q became %q, want %q", help, got, want)
		}
	}
}
