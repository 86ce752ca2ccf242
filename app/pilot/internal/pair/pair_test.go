package pair_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/pair"
	"github.com/spiffe/spike/internal/api"
)

func TestParse(t *testing.T) {
	pairs, err := pair.Parse([]string{"a=b=c", "empty=", "in=-", "file=@x/y=z", "dash=-x", "k k=v", "asked", "-a"})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		key  string
		from pair.From
		name string
		text string
	}{
		{"a", pair.Literal, "", "b=c"},
		{"empty", pair.Literal, "", ""},
		{"in", pair.Stdin, "", ""},
		{"file", pair.File, "x/y=z", ""},
		{"dash", pair.Literal, "", "-x"},
		{"k k", pair.Literal, "", "v"},
		{"asked", pair.Prompt, "", ""},
		{"-a", pair.Prompt, "", ""},
	}
	if len(pairs) != len(want) {
		t.Fatalf("got %d pairs", len(pairs))
	}
	for i, w := range want {
		if p := pairs[i]; p.Key != w.key || p.From != w.from || p.Name != w.name || string(p.Text.Expose()) != w.text {
			t.Errorf("pair %d: got %+v", i+1, p)
		}
	}
	if got := pair.Exposed(pairs); !slices.Equal(got, []string{"a", "dash", "k k"}) {
		t.Errorf("exposed: %q", got)
	}
}

// from is a source whose standard input has that content, and which answers the
// question about a newline.
func from(content string, trim bool) pair.Source {
	return pair.Source{
		Input: func() ([]byte, error) { return []byte(content), nil },
		Trim:  func(string, int) (bool, error) { return trim, nil },
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	pairs, err := pair.Parse([]string{"asked", "a=1\n", "b=-", "c=@" + file(t, "\r\n \n"), "d=@" + file(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	values, left, err := pair.Load(pairs, from("in", false))
	if err != nil || len(left) != 1 || left[0].Key != "asked" {
		t.Fatalf("left: %v, %v", left, err)
	}
	if err := pair.Ask(left, values, func(key string) ([]byte, error) { return []byte("typed " + key), nil }); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "1\n", "b": "in", "c": "\r\n \n", "d": "", "asked": "typed asked"} {
		if values[key] != want {
			t.Errorf("%s is %q, want %q", key, values[key], want)
		}
	}

	// On a terminal, standard input is asked for.
	_, left, err = pair.Load(pairs, pair.Source{})
	if err != nil || len(left) != 2 || left[0].Key != "asked" || left[1].Key != "b" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestNewlines has every kind of ending. Only a single line is asked about, and empty
// ones behind it make no other text of it.
func TestNewlines(t *testing.T) {
	for content, trimmed := range map[string]string{
		"hunter2\n": "hunter2", "hunter2\r\n": "hunter2", "\n": "", "\r\n": "", " a \n": " a ", "a\r\r\n": "a\r",
		"a\n\n": "a", "a\r\n\r\n\n": "a", "\n\n": "", "a\n\n \n": "a\n\n \n", "a\nb\n\n": "a\nb\n\n",
		"": "", "a": "a", "a\r": "a\r", "\na": "\na", "\na\n": "\na\n", "a\nb\n": "a\nb\n", "a\nb": "a\nb",
	} {
		for _, arg := range []string{"k=-", "k=@" + file(t, content)} {
			pairs, err := pair.Parse([]string{arg})
			if err != nil {
				t.Fatal(err)
			}
			for _, trim := range []bool{true, false} {
				source, asked := from(content, trim), 0
				source.Trim = func(_ string, newlines int) (bool, error) {
					asked = newlines
					return trim, nil
				}
				values, _, err := pair.Load(pairs, source)
				want := content
				if trim {
					want = trimmed
				}
				// A lone newline is what a failed producer writes: it must not become
				// an empty password.
				if arg == "k=-" && want == "" && content != "" {
					if !errors.Is(err, pair.ErrEmpty) {
						t.Errorf("%q, trimmed: got %q, %v", content, values["k"], err)
					}
				} else if err != nil || values["k"] != want {
					t.Errorf("%q, %v: got %q, %v", content, trim, values["k"], err)
				}
				newlines := 0
				if content != trimmed {
					newlines = strings.Count(content, "\n")
				}
				if asked != newlines {
					t.Errorf("%q: asked about %d newlines", content, asked)
				}
			}
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	broken := errors.New("broken")
	for arg, source := range map[string]pair.Source{
		"k=-":                         {Input: func() ([]byte, error) { return nil, broken }},
		"b=-":                         from("canary\xff", false),
		"k=@" + t.TempDir():           {},
		"k=@/nowhere/missing":         {},
		"k=@" + file(t, "\xff\x00"):   {},
		"k=@" + file(t, "canary\x00"): {},
		"c=-":                         from("\x00canary", false),
		"k=@" + file(t, "canary\n"):   {Trim: func(string, int) (bool, error) { return false, broken }},
	} {
		pairs, err := pair.Parse([]string{arg})
		if err != nil {
			t.Fatal(err)
		}
		values, _, err := pair.Load(pairs, source)
		if err == nil || values != nil {
			t.Errorf("%s was loaded", arg)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error repeats the value: %v", err)
		}
	}
	for _, typed := range []string{"canary\xff", "canary\x00", ""} {
		err := pair.Ask([]pair.Pair{{Key: "k", From: pair.Prompt}}, api.Values{}, func(string) ([]byte, error) {
			if typed == "" {
				return nil, broken
			}
			return []byte(typed), nil
		})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

// TestWayToStoreBytes pastes the command that an error advises into a shell. Whatever the
// file is called, it must store the file, and do nothing else.
func TestWayToStoreBytes(t *testing.T) {
	t.Chdir(t.TempDir())
	bin := t.TempDir()
	// It shows what it was asked to do, and what it would store.
	if err := os.WriteFile(filepath.Join(bin, "spike"), []byte("#!/bin/sh\necho \"$@\"; base64 -d"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, name := range []string{"picture.png", "my file", "a$(touch trace)b", "`touch trace`", "-d", "--help", "-", "it's", "a;touch trace", "~", "*"} {
		if err := os.WriteFile(name, []byte("\xff of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		pairs, err := pair.Parse([]string{"k=@" + name})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = pair.Load(pairs, pair.Source{})
		if err == nil {
			t.Fatalf("%q was loaded", name)
		}
		_, advice, ok := strings.Cut(err.Error(), "store it in base64: ")
		out, failed := exec.CommandContext(t.Context(), "sh", "-c", advice).CombinedOutput()
		if want := "secret put PATH KEY=-\n\xff of " + name; !ok || failed != nil || string(out) != want {
			t.Errorf("%q: %s: %q, %v", name, advice, out, failed)
		}
	}
	if _, err := os.Stat("trace"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name was run: %v", err)
	}
	// A name that a terminal would act on is not shown.
	name := "a\x1b[2Jb\n"
	if err := os.WriteFile(name, []byte("\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := pair.Load([]pair.Pair{{Key: "k", From: pair.File, Name: name}}, pair.Source{})
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || !strings.Contains(err.Error(), "… | base64 -w0 | spike") {
		t.Errorf("%v", err)
	}
}

// FuzzParse checks that whatever is accepted is what was given, that it can be
// sent once it is loaded, and that no error repeats a value or an argument
// without a key.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"k=v", "k=", "=v", "canary", "k=-", "k=@file", "k=@", "a=b=c", "", "=", "==", "k=\xff", "\xff=v",
		"k=--", "k=@-", "k= -", "-", "@", "@file", "k", "-k", "ключ=значение", "k=\x00", "-=-", "@=@",
	} {
		f.Add(seed, "other=x")
		f.Add("other=-", seed)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		pairs, err := pair.Parse([]string{one, two})
		if err != nil {
			for _, arg := range []string{one, two} {
				_, value, ok := strings.Cut(arg, "=")
				if !ok {
					value = arg // it may be a value that lost its key
				}
				if len(value) > 12 && strings.Contains(err.Error(), value) {
					t.Errorf("%q: the error repeats it: %v", arg, err)
				}
			}
			return
		}
		stdin := 0
		for i, arg := range []string{one, two} {
			p := pairs[i]
			back := p.Key + "="
			switch p.From {
			case pair.Prompt:
				back = p.Key
			case pair.Literal:
				back += string(p.Text.Expose())
			case pair.Stdin:
				back += "-"
				stdin++
			case pair.File:
				back += "@" + p.Name
				p.From = pair.Stdin // no file is read here
			}
			if back != arg {
				t.Errorf("%q became %q", arg, back)
			}
			pairs[i] = p
		}
		if stdin > 1 || pairs[0].Key == pairs[1].Key {
			t.Errorf("%q and %q were accepted together", one, two)
		}
		values, left, err := pair.Load(pairs, from("x", false))
		if err == nil {
			err = pair.Ask(left, values, func(string) ([]byte, error) { return []byte("typed"), nil })
		}
		if err != nil {
			t.Fatalf("%q and %q: %v", one, two, err)
		}
		put := api.SecretPutRequest{Path: "a", Values: values}
		if err := put.Validate(); err != nil || len(values) != 2 {
			t.Errorf("%q and %q: %v", one, two, err)
		}
	})
}
