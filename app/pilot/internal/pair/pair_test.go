package pair_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/pair"
	"github.com/spiffe/spike/internal/api"
)

func TestParse(t *testing.T) {
	pairs, err := pair.Parse([]string{"a=b=c", "empty=", "in=-", "file=@x/y=z", "dash=-x", "k k=v"})
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
	}
	if len(pairs) != len(want) {
		t.Fatalf("got %d pairs", len(pairs))
	}
	for i, w := range want {
		if p := pairs[i]; p.Key != w.key || p.From != w.from || p.Name != w.name || string(p.Text.Expose()) != w.text {
			t.Errorf("pair %d: got %+v", i+1, p)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	input := func(content string, err error) func(string) ([]byte, error) {
		return func(string) ([]byte, error) { return []byte(content), err }
	}
	pairs, err := pair.Parse([]string{"a=1", "b=-", "c=@" + file("c", "\r\n \n"), "d=@" + file("d", "")})
	if err != nil {
		t.Fatal(err)
	}
	values, err := pair.Load(pairs, input("in\n", nil))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "1", "b": "in\n", "c": "\r\n \n", "d": ""} {
		if values[key] != want {
			t.Errorf("%s is %q, want %q", key, values[key], want)
		}
	}

	broken := errors.New("broken")
	for arg, in := range map[string]func(string) ([]byte, error){
		"k=-":                                    input("", broken),
		"b=-":                                    input("\xff", nil),
		"k=@" + dir:                              nil,
		"k=@" + filepath.Join(dir, "missing"):    nil,
		"k=@" + file("binary", "canary\xff\x00"): nil,
	} {
		pairs, err := pair.Parse([]string{arg})
		if err != nil {
			t.Fatal(err)
		}
		values, err := pair.Load(pairs, in)
		if err == nil || values != nil {
			t.Errorf("%s was loaded", arg)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error repeats the value: %v", err)
		}
	}
}

// FuzzParse checks that whatever is accepted is what was given, that it can be
// sent once it is loaded, and that no error repeats a value or an argument
// without a key.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"k=v", "k=", "=v", "canary", "k=-", "k=@file", "k=@", "a=b=c", "", "=", "==", "k=\xff", "\xff=v",
		"k=--", "k=@-", "k= -", "ключ=значение", "k=\x00", "-=-", "@=@",
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
					value = arg
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
		values, err := pair.Load(pairs, func(string) ([]byte, error) { return []byte("x"), nil })
		if err != nil {
			t.Fatalf("%q and %q: %v", one, two, err)
		}
		put := api.SecretPutRequest{Path: "a", Values: values}
		if err := put.Validate(); err != nil || len(values) != 2 {
			t.Errorf("%q and %q: %v", one, two, err)
		}
	})
}
