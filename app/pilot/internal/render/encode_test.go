package render_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/api"
)

// answer has a field of each kind that answers have.
type answer struct {
	Zebra  string   `json:"zebra"`
	Number int64    `json:"number"`
	Yes    bool     `json:"yes"`
	None   *string  `json:"none"`
	Left   string   `json:"left,omitempty"`
	List   []string `json:"list"`
	Empty  []string `json:"empty"`
}

func TestEncodings(t *testing.T) {
	v := answer{Zebra: "<&>", Number: 1 << 40, Yes: true, List: []string{"true", "1", "a: b", "two\nlines"}, Empty: []string{}}
	for name, test := range map[string]struct {
		encode func(*bytes.Buffer) error
		want   string
	}{
		"JSON": {func(b *bytes.Buffer) error { return render.JSON(b, v) }, `{
  "zebra": "<&>",
  "number": 1099511627776,
  "yes": true,
  "none": null,
  "list": [
    "true",
    "1",
    "a: b",
    "two\nlines"
  ],
  "empty": []
}
`},
		"YAML": {func(b *bytes.Buffer) error { return render.YAML(b, v) }, `zebra: <&>
number: 1099511627776
yes: true
none: null
list:
  - "true"
  - "1"
  - 'a: b'
  - |-
    two
    lines
empty: []
`},
	} {
		var out bytes.Buffer
		if err := test.encode(&out); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("%s: got\n%s", name, out.String())
		}
	}
}

// FuzzEncodings checks that any secret comes back from JSON and from YAML as it
// was, and that neither could steer a terminal.
func FuzzEncodings(f *testing.F) {
	for _, seed := range []string{
		"", "a", "true", "null", "~", "0x1f", "1e3", ".inf", "2026-01-02", "- a", "a: b", "a #b", " a ", "\n", "a\n", "a\n\n", "\na",
		"a\r\nb", "a\rb", "\ta", "a\x00b", "\x1b[31m", "\x7f", "\u0085", "\u009b", "\u2028", "\ufeff", "\ufffe", "🔑", "\U000e0001",
		"<<", "=", "yes", "'", `"`, `\`, "|", ">-", "%a", "@a", "`a", "!!binary aGk=", "&a", "*a", "? a", "---", "...", "a\n  b\n c",
		"a \nb", "  a\nb", "\n a\n", "a\u00a0b", "\t\n", "\u0085~%~-\u0085",
	} {
		f.Add(seed, "v")
		f.Add("k", seed)
		f.Add(seed+"x", "x"+seed)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return // no secret has it, see package pair
		}
		values := api.Values{key: value, "other": "x"}
		var asJSON, asYAML bytes.Buffer
		if err := render.JSON(&asJSON, values); err != nil {
			t.Fatal(err)
		}
		if err := render.YAML(&asYAML, values); err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal(asJSON.Bytes(), &got); err != nil || !maps.Equal(got, values) {
			t.Errorf("JSON: %q and %q became %q (%v)", key, value, got, err)
		}
		got = nil
		if err := yaml.Unmarshal(asYAML.Bytes(), &got); err != nil || !maps.Equal(got, values) {
			t.Errorf("YAML: %q and %q became %q (%v): %s", key, value, got, err, asYAML.Bytes())
		}
		for _, r := range asJSON.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("JSON has %U", r)
			}
		}
		for _, r := range asYAML.String() {
			if r != '\n' && unicode.IsControl(r) {
				t.Errorf("YAML has %U", r)
			}
		}
	})
}
