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
	if err := render.Values(&out, values); err != nil {
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

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := render.Table(&out, []string{"A", "B", "C"}, [][]string{{"1", "long", ""}, {"2", "", "x"}}); err != nil {
		t.Fatal(err)
	}
	if want := "A  B     C\n1  long\n2        x\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}
