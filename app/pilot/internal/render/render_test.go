package render_test

import (
	"strings"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
)

func TestNothingSteersATerminal(t *testing.T) {
	var out strings.Builder
	values := api.Values{
		"k":            "a\x1b[31mred\x07\u202e\u009b",
		"\x1b[2Jkey\n": "x\r\n\x1b]0;title\x07\ny\t|",
		"ünïcode 🔑":    "žluťoučký",
	}
	if err := render.Values(&out, render.Style{}, values); err != nil {
		t.Fatal(err)
	}
	want := `\u001b[2Jkey\u000a:
  x
  \u001b]0;title\u0007
  y	|
k: a\u001b[31mred\u0007\u202e\u009b
ünïcode 🔑: žluťoučký
`
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestTree(t *testing.T) {
	var out strings.Builder
	paths := []string{"a", "a-b", "a/b", "a/b/c", "a/b/d", "a/e", "web", "zoo/deep/down/here"}
	if err := render.Tree(&out, render.Style{}, paths); err != nil {
		t.Fatal(err)
	}
	want := `a
a-b
a/
├── b
├── b/
│   ├── c
│   └── d
└── e
web
zoo/
└── deep/
    └── down/
        └── here
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

// TestTable has one table at several widths: as it is, with its last column
// broken into lines, and as fields.
func TestTable(t *testing.T) {
	rows := [][]render.Cell{
		{{Text: "1"}, {Text: "open", Color: render.Good}, {}},
		{{Text: "2"}, {}, {Text: "it does not answer: connection refused"}},
	}
	for width, want := range map[int]string{
		0: `A  STATE  DETAIL
1  open
2         it does not answer: connection refused
`,
		31: `A  STATE  DETAIL
1  open
2         it does not answer:
          connection refused
`,
		20: `A:      1
STATE:  open

A:       2
DETAIL:  it does not
         answer:
         connection
         refused
`,
	} {
		var out strings.Builder
		if err := render.Table(&out, render.Style{Width: width}, []string{"A", "STATE", "DETAIL"}, rows); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%d characters: got\n%s", width, out.String())
		}
	}
	var out strings.Builder
	if err := render.Table(&out, render.Style{Color: true}, []string{"A", "STATE", "DETAIL"}, rows[:1]); err != nil {
		t.Fatal(err)
	}
	if want := "A  STATE  DETAIL\n1  \x1b[32mopen\x1b[0m\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestWordsThatAreTooLong(t *testing.T) {
	var out strings.Builder
	f := render.Field{Name: "URL", Value: "a https://keeper-1.example.org:8443 b"}
	if err := render.Fields(&out, render.Style{Width: 21}, f, render.Field{Name: "None"}); err != nil {
		t.Fatal(err)
	}
	if want := "URL:  a\n      https://keeper-1\n      .example.org:844\n      3 b\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestSentence(t *testing.T) {
	for reason, want := range map[string]string{
		"":                              "",
		"the path is empty":             "The path is empty.",
		"élan vital is missing.":        "Élan vital is missing.",
		"ß is a letter":                 "ß is a letter.",
		"paper.txt, line 3: no":         "paper.txt, line 3: no.",
		"web-db: is a directory":        "web-db: is a directory.",
		"--path is not anchored":        "--path is not anchored.",
		`"reed" is not a permission`:    `"reed" is not a permission.`,
		"日本: no such file":              "日本: no such file.",
		"\xff is no text, but a reason": "\xff is no text, but a reason.",
		"serving":                       "Serving.",
	} {
		if got := render.Sentence(reason); got != want {
			t.Errorf("%q became %q", reason, got)
		}
	}
}
