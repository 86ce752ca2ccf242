package policyfile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/policyfile"
	"github.com/spiffe/spike/internal/policy"
)

// document returns a file with one policy.
func document(id, path, permissions string) []byte {
	return []byte("name: web\nspiffeidPattern: " + id + "\npathPattern: " + path + "\npermissions: " + permissions + "\n")
}

const goodID, goodPath = `^spiffe://spike\.ist/web$`, `^web/db$`

func TestWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content []byte
		line    int
		warning bool
		what    string // in the problem, or none
		instead string
	}{
		"nothing":               {document(goodID, goodPath, "[read]"), 0, false, "", ""},
		"a policy that was got": {append(document(goodID, goodPath, "[read]"), "createdAt: 2026-01-02T03:04:05Z\nupdatedAt: x\n"...), 0, false, "", ""},
		"a number as name":      {[]byte("{name: 1, spiffeidPattern: '^a$', pathPattern: '^a$', permissions: [read]}"), 1, true, "No SPIFFE ID", ""},
		"not anchored":          {document(goodID, "web/db", "[read]"), 3, false, "pathPattern is not anchored", "^web/db$"},
		"no end":                {document(goodID, "^web/", "[read]"), 3, false, "not anchored", "^web/.*$"},
		"no beginning":          {document("web$", goodPath, "[read]"), 2, false, "not anchored", "^web$"},
		"an alternative":        {document(goodID, "^a|b$", "[read]"), 3, false, "not anchored", "^(?:a|b)$"},
		"a dollar sign":         {document(goodID, `^a\$`, "[read]"), 3, false, "not anchored", `^a\$$`},
		"not a pattern":         {document(goodID, "'^(a$'", "[read]"), 3, false, "not a regular expression", ""},
		"too complex":           {document(goodID, "'^(ab){90}$'", "[read]"), 3, false, "too complex", ""},
		"a dot":                 {document("^spiffe://spike.ist/web$", goodPath, "[read]"), 2, true, "not escaped", goodID},
		"a dot of a host":       {document(goodID, "^db.example.com/.*$", "[read]"), 3, true, "not escaped", `^db\.example\.com/.*$`},
		"dots that are meant":   {document(goodID, `'^[a.b]+/.*\d.+x.{3}$'`, "[read]"), 0, false, "", ""},
		"a glob":                {document(goodID, "^web/*$", "[read]"), 3, true, "any number of slashes", "^web/.*$"},
		"a slash":               {document(goodID, "^/web/db$", "[read]"), 3, true, "No path begins with a slash", goodPath},
		"no SPIFFE ID":          {document("^/web$", goodPath, "[read]"), 2, true, "No SPIFFE ID", ""},
		"reserved":              {document(goodID, "^spike/system/acl$", "[read, list]"), 0, false, "", ""},
		"reserved in part":      {document(goodID, "^spike/(system)/acl$", "[read]"), 3, true, "does not grant the reserved", ""},
		"reserved by halves":    {document(goodID, "^(spike/system/acl)$", "[read]"), 3, true, "does not grant the reserved", ""},
		"reserved, super":       {document(goodID, "^spike/.*$", "[super]"), 0, false, "", ""},
		"a catch-all":           {document(goodID, "^.*$", "[read]"), 0, false, "", ""},
		"nothing to execute":    {document(goodID, "^web/.*$", "[read, execute]"), 4, true, "execute grants nothing", ""},
		"all, and no super":     {document(goodID, "^.*$", "[execute]"), 4, true, "execute grants nothing", ""},
		"all, and super":        {document(goodID, "^.*$", "[super]"), 0, false, "", ""},
		"nothing to read":       {document(goodID, "^spike/system/cipher/exec$", "[read]"), 4, true, "read grants nothing", ""},
		"all that is reserved":  {document(goodID, "^spike/system/.*$", "[read, write, list, execute]"), 0, false, "", ""},
		"super, reserved":       {document(goodID, "^spike/system/secret$", "[super]"), 0, false, "", ""},
		"nothing reserved":      {document(goodID, "^spike/system/acl/x$", "[read]"), 3, true, "Nothing has a reserved path like this", ""},
		"nothing for super":     {document(goodID, "^spike/system/x.*$", "[super]"), 3, true, "Nothing has a reserved path like this", ""},
		"two slashes":           {document(goodID, "^web//db$", "[read]"), 3, true, "No secret can have a path like this", ""},
		"two slashes, and more": {document(goodID, "^web//.*$", "[super]"), 3, true, "No secret can have a path like this", ""},
		"a slash at the end":    {document(goodID, "^web/$", "[read]"), 3, true, "No secret can have a path like this", ""},
		"an odd character":      {document(goodID, "^wéb/.*$", "[read]"), 3, true, "No secret can have a path like this", ""},
		"dots that go on":       {document(goodID, `'^web/\.\..*$'`, "[read]"), 0, false, "", ""},
		"permission":            {document(goodID, goodPath, "[read, erase]"), 4, false, `"erase" is not a permission`, ""},
		"no permission":         {document(goodID, goodPath, "[]"), 4, false, "no permission", ""},
		"permissions in text":   {document(goodID, goodPath, "read"), 4, false, "not a list", ""},
		"a key twice":           {append(document(goodID, goodPath, "[read]"), "name: other\n"...), 5, false, "there twice", ""},
		"an unknown key":        {append(document(goodID, goodPath, "[read]"), "pathpattern: x\n"...), 5, false, `"pathpattern" is not known`, ""},
		"a list of policies":    {[]byte("- name: web\n"), 1, false, "not a policy", ""},
		"no text":               {document(goodID, "", "[read]"), 3, false, "pathPattern has no text", ""},
		"an escape":             {document(`"^spiffe://spike\.ist/web$"`, goodPath, "[read]"), 2, false, "not YAML", goodID},
		"a tab":                 {document(goodID, `"^a\tb$"`, "[read]"), 3, false, "control character", `^a\tb$`},
		"a tab that is one":     {document(goodID, "\"^a\tb$\"", "[read]"), 3, false, "control character", ""},
		"an escape, open":       {document(`"spiffe://spike.ist/web\."`, goodPath, "[read]"), 2, false, "not YAML", `^spiffe://spike\.ist/web\.$`},
		"an escape and no line": {document(`"\.[`, goodPath, "[read]"), 2, false, "not YAML", ""},
		"all at once":           {document("spiffe://spike.ist/web/*", goodPath, "[read]"), 2, false, "not anchored", `^spiffe://spike\.ist/web/.*$`},
		"a star":                {document(goodID, "'*'", "[read]"), 3, false, "not a regular expression: missing argument", "^.*$"},
		"a star, anchored":      {document(goodID, "'^*$'", "[read]"), 3, false, "not anchored", "^.*$"},
		"two stars":             {document(goodID, "web/**", "[read]"), 3, false, "not a regular expression: invalid nested", "^web/.*$"},
		"ahead":                 {document(goodID, "'^(?!a)b$'", "[read]"), 3, false, "not a regular expression", ""},
		"no policy":             {[]byte("# nothing\n---\n---\n"), 0, false, "no policy in it", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, problems := policyfile.Parse("f.yaml", test.content)
			problems = append(problems, policyfile.Check(list)...)
			if test.what == "" {
				if len(problems) != 0 {
					t.Fatalf("complains: %+v", problems)
				}
				if p, err := list[0].Compile(); err != nil || p.Name != "web" {
					t.Errorf("compile: %v", err)
				}
				return
			}
			found := slices.IndexFunc(problems, func(p policyfile.Problem) bool { return strings.Contains(p.What, test.what) })
			if found < 0 {
				t.Fatalf("does not say %q: %+v", test.what, problems)
			}
			if p := problems[found]; p.Line != test.line || p.Warning != test.warning || p.Instead != test.instead {
				t.Errorf("got %+v", p)
			}
		})
	}
}

// TestEachDocumentIsRead has a mistake between two policies, and what stands above
// and below them.
func TestEachDocumentIsRead(t *testing.T) {
	t.Parallel()
	good := string(document(goodID, goodPath, "[read]"))
	content := "%YAML 1.1\n# head\n---\n" + good + "---\nname: [\n---\t\n--- # two\n" + good + "...\n" + good + "---\nname: b\npath: x\nspiffedPattern: y\n---"
	list, problems := policyfile.Parse("f.yaml", []byte(content))
	lines := []int{4, 12, 17, 22}
	if len(list) != len(lines) {
		t.Fatalf("%d policies: %+v, %+v", len(list), list, problems)
	}
	for i, d := range list {
		if d.Line != lines[i] || d.Name.Line != lines[i] {
			t.Errorf("policy %d is at line %d", i, d.Line)
		}
	}
	want := []policyfile.Problem{
		{File: "f.yaml", Line: 9, What: "This is not YAML: did not find expected node content."},
		{File: "f.yaml", Line: 23, What: `The key "path" is not known.`, Hint: "It is probably pathPattern."},
		{File: "f.yaml", Line: 24, What: `The key "spiffedPattern" is not known.`, Hint: "It is probably spiffeidPattern."},
		{File: "f.yaml", Line: 22, What: "The policy has no permissions."},
	}
	if !slices.Equal(problems, want) {
		t.Errorf("got %+v", problems)
	}
}

// FuzzParse asserts that whatever has no error is what Nexus takes, and that what
// is to be written instead is a pattern that Nexus would take.
func FuzzParse(f *testing.F) {
	f.Add(document(goodID, goodPath, "[read, write]"))
	f.Add(document("spiffe://spike.ist/web", "web/*|x", "[reed]"))
	f.Add(document(`"^spiffe://spike\.ist/web$"`, `"^a\tb$"`, "read"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("name: &n web\nspiffeidPattern: *n\npathPattern: ^a$\npermissions: [*n]\n<<: *n\n"))
	f.Add([]byte("---\n...\n---\n? {a: b}\n: c\n"))
	f.Add([]byte("name: !!binary aGk=\npermissions: !!set {a, b}\n"))
	f.Add([]byte("%YAML 1.1\n---\n\"\\x"))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, problems := policyfile.Parse("f.yaml", content)
		checked := policyfile.Check(list)
		for _, p := range append(problems, checked...) {
			if p.What == "" || p.File != "f.yaml" || p.Line < 0 {
				t.Errorf("a problem without words or place: %+v", p)
			}
			if p.Instead != "" {
				if _, err := policy.CheckPattern(p.Instead); err != nil && !strings.Contains(p.What, "slash") {
					t.Errorf("%q should be written, and %v", p.Instead, err)
				}
			}
		}
		if len(policyfile.Errors(problems)) > 0 || len(policyfile.Errors(checked)) > 0 {
			return
		}
		if len(list) == 0 {
			t.Error("nothing, and no problem")
		}
		for i := range list {
			if _, err := list[i].Compile(); err != nil {
				t.Errorf("no error was found in what does not compile: %v", err)
			}
		}
	})
}

// FuzzExpectations asserts that what has no error is complete.
func FuzzExpectations(f *testing.F) {
	f.Add([]byte("- {as: spiffe://a/b, path: c, action: read, expect: allowed, by: d}\n- {as: spiffe://a/b, action: execute, expect: denied}\n"))
	f.Add([]byte("- as: x\n- []\n- *a\n"))
	f.Add([]byte("a: b\n---\n[]\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, problems := policyfile.ParseExpectations("f.yaml", content)
		if len(list) == 0 && len(problems) == 0 {
			t.Error("nothing, and no problem")
		}
		for _, e := range list {
			if e.As.IsZero() || e.Path == "" || e.Action == "" || e.Line == 0 {
				t.Errorf("not complete: %+v", e)
			}
		}
	})
}
