package conformance

import (
	"testing"
)

// TestMatch shows what an answer is held against.
func TestMatch(t *testing.T) {
	t.Parallel()
	v := variables{"known": "k"}
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{`{}`, `{}`, true}, {`{}`, `{} `, false}, {`{}`, `{"err":"x"}`, false}, {`{…}`, `{"err":"x"}`, true},
		{`{"t":"${TIME}"}`, `{"t":"2026-01-02T03:04:05.1Z"}`, true}, {`{"t":"${TIME}"}`, `{"t":"2026-01-02"}`, false},
		{`{"a":"${new}","b":1}`, `{"a":"x","b":1}`, true}, {`${new}`, `x`, true}, {`${new}`, `y`, false},
		{`${known}`, `k`, true}, {`${known}`, `K`, false}, {`${3*ab}`, `ababab`, true}, {`${0x2e}`, `.`, true}, {`.`, `x`, false},
	} {
		ok, err := v.match(c.want, c.got)
		if err != nil || ok != c.ok {
			t.Errorf("%s and %s: got %v, %v", c.want, c.got, ok, err)
		}
	}
	for want, ok := range map[string]bool{"${4*byte}": true, "${3*byte}": false, "…": true, "${0x00ff2261}": true, "${0x00}": false, "${all}": true} {
		if got, err := v.matchOctets(want, "\x00\xff\x22a"); err != nil || got != ok {
			t.Errorf("octets %s: got %v, %v", want, got, err)
		}
	}
	if v["all"] != "\x00\xff\x22a" {
		t.Errorf("kept %q", v["all"])
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := parse("x.txt", "# A comment.\ncluster: new\nset: A=b\n\nstep: init\n/web@d GET /p?q octets b c\n  d\n  -> 200 octets e f\n")
	if err != nil || s.cluster != "new" || len(s.settings) != 1 || len(s.lines) != 2 || s.lines[0].step != "init" {
		t.Fatalf("got %+v, %v", s, err)
	}
	want := line{place: "x.txt:6", who: "/web@d", method: "GET", target: "/p?q", octets: true, body: "b cd", status: 200, answer: "e f", answered: true, octetsBack: true}
	if s.lines[1] != want {
		t.Errorf("got %+v", s.lines[1])
	}
	for _, bad := range []string{"", "# nothing\n", "a /b {}\n", "a -> 200\n", "a /b -> 200\n", "a /b {} -> ok\n", "a /b {} -> \n"} {
		if s, err := parse("x.txt", bad); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
	for _, bad := range []string{"${x}", "${0xg}", "${n*a}"} {
		if got, err := (variables{}).expand(bad); err == nil {
			t.Errorf("%s is %q", bad, got)
		}
	}
}
