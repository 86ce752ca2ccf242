package policy_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/internal/policy"
)

func compile(t testing.TB, name, id, path string, want policy.Permission) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Policy{Name: name, SPIFFEIDPattern: id, PathPattern: path, Permissions: want})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return p
}

func TestPatterns(t *testing.T) {
	for pattern, accepted := range map[string]bool{
		`^a$`: true, `^a.*$`: true, `^(a|b)$`: true, `^(?:a|b)$`: true, `^a$|^b$`: true, `^(^a$)$`: true, `^$`: true,
		`^(?i)a$`: true, `\Aa\z`: true,
		``: false, `a`: false, `^a`: false, `a$`: false, `^a|b$`: false, `^a\$`: false, `\^a$`: false,
		`^a$|b`: false, `(^a|b)$`: false, `^(a|b$)`: false, `(?m)^a$`: false, `^a(?:$)?`: false, `(?:^)?a$`: false,
		`^a$b`: false, `^(a$`: false, `[^a$]`: false, `^[a$]`: false, `^(a{100}){100}$`: false, `^a\Z$`: false,
		`^` + strings.Repeat("a", 98) + `$`: false, `^` + strings.Repeat("x", 499) + `$`: false,
		`^(a{20}b{20}){3}$`: false, `^(?=a)$`: false, `^\C$`: false, "^\xff$": false,
	} {
		_, err := policy.Compile(policy.Policy{Name: "p", SPIFFEIDPattern: pattern, PathPattern: `^a$`, Permissions: policy.Read})
		if (err == nil) != accepted {
			t.Errorf("%.60q: %v", pattern, err)
		}
		_, other := policy.Compile(policy.Policy{Name: "p", SPIFFEIDPattern: `^a$`, PathPattern: pattern, Permissions: policy.Read})
		if (err == nil) != (other == nil) {
			t.Errorf("%.60q: the two patterns are judged differently", pattern)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A b-c_9": true, strings.Repeat("a", 250): true,
		"": false, strings.Repeat("a", 251): false, "a/b": false, "a\n": false, "ä": false, "a.b": false,
	} {
		if err := policy.ValidateName(name); (err == nil) != ok {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

func TestPermissions(t *testing.T) {
	for _, bad := range [][]string{nil, {}, {""}, {"admin"}, {"READ"}, {"read", "x"}} {
		if _, err := policy.ParsePermissions(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	p, err := policy.ParsePermissions([]string{"super", "read", "read"})
	if err != nil || fmt.Sprint(p.Names()) != "[read super]" {
		t.Errorf("got %v, %v", p.Names(), err)
	}
}

func TestReservedPaths(t *testing.T) {
	const acl = "spike/system/acl"
	for pattern, granted := range map[string]bool{
		`^spike/system/acl$`: true, `^spike/system/(acl|secret)$`: true, `^spike/system/.*$`: true,
		`^.*$`: false, `^spike/.*$`: false, `^spike/s.*$`: false, `^(spike/system/acl)$`: false,
		`^spike/system/acl$|^a$`: false, `^a$|^spike/system/acl$`: false, `^(?i)spike/system/acl$`: false,
		`^spike.system/acl$`: false, `^[s]pike/system/acl$`: true, // one character in a class is that literal
		`^(?:spike/system/acl|x)$`: false,
	} {
		p := compile(t, "p", `^.*$`, pattern, policy.Write)
		if p.Grants(policy.Write, acl) != granted {
			t.Errorf("%s: granted is %v", pattern, !granted)
		}
		super := compile(t, "p", `^.*$`, pattern, policy.Super)
		if super.Grants(policy.Write, acl) != regexp.MustCompile(pattern).MatchString(acl) {
			t.Errorf("%s with super: got %v", pattern, super.Grants(policy.Write, acl))
		}
	}
}

// TestAgainstPlainOracle compares a set with a loop over regular expressions,
// asking twice so that remembered decisions count too, and after every change.
func TestAgainstPlainOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type plain struct {
			id, path *regexp.Regexp
			want     policy.Permission
			literal  bool
		}
		ids := rapid.SampledFrom([]string{`^spiffe://a/web$`, `^spiffe://a/.*$`, `^.*$`, `^spiffe://b/(web|db)$`, `^x?$`})
		paths := rapid.SampledFrom([]string{`^web/db$`, `^web/.*$`, `^.*$`, `^spike/system/acl$`, `^spike/system/.*$`, `^(a|web/db)$`})
		set, oracle := policy.NewSet(), map[string]plain{}
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			name := rapid.SampledFrom([]string{"p", "q", "r", "s", "t", "u"}).Draw(rt, "name")
			if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
				set = set.Without(name)
				delete(oracle, name)
			} else {
				id, path := ids.Draw(rt, "id"), paths.Draw(rt, "path")
				want := policy.Permission(rapid.IntRange(1, 31).Draw(rt, "permissions"))
				set = set.With(compile(t, name, id, path, want))
				oracle[name] = plain{regexp.MustCompile(id), regexp.MustCompile(path), want, strings.HasPrefix(path, `^spike/system/`)}
			}
			for range 2 {
				for _, id := range []string{"spiffe://a/web", "spiffe://a/db", "spiffe://b/db", "spiffe://c/x"} {
					for _, path := range []string{"web/db", "web/x", "a", "spike/system/acl", "spike/system/secret"} {
						for _, want := range []policy.Permission{policy.Read, policy.Write, policy.List, policy.Execute} {
							allowed := false
							for _, p := range oracle {
								reserved := strings.HasPrefix(path, "spike/system/")
								if p.id.MatchString(id) && p.path.MatchString(path) && p.want&(want|policy.Super) != 0 &&
									(!reserved || p.literal || p.want&policy.Super != 0) {
									allowed = true
								}
							}
							if got := set.Allow(id, want, path); (got != nil) != allowed {
								rt.Fatalf("%s %v %s: got %v, want %v", id, want.Names(), path, got, allowed)
							}
						}
					}
				}
			}
			if len(set.All()) != len(oracle) {
				rt.Fatalf("%d policies, want %d", len(set.All()), len(oracle))
			}
		}
	})
}

// several returns so many policies of a kind that what they decide is remembered.
func several(t *testing.T, id, path string) *policy.Set {
	t.Helper()
	var list []*policy.Policy
	for i := range policy.Few + 1 {
		list = append(list, compile(t, fmt.Sprint("p", i), id, path, policy.Read))
	}
	return policy.NewSet(list...)
}

// TestFewPoliciesAreAskedAgain: where deciding is quick, remembering is not worth it.
func TestFewPoliciesAreAskedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		set  *policy.Set
		want bool
	}{
		"one":                 {policy.NewSet(compile(t, "p", `^.*$`, `^x/.*$`, policy.Read)), false},
		"one of one path":     {policy.NewSet(compile(t, "p", `^.*$`, `^x/1$`, policy.Read)), false},
		"several":             {several(t, `^.*$`, `^x/.*$`), true},
		"one that is costly":  {policy.NewSet(compile(t, "p", `^.*$`, large, policy.Read)), true},
		"several for another": {several(t, `^y$`, `^x/.*$`), false},
	} {
		want := name != "one that is costly" && name != "several for another"
		if got := tc.set.Allow("spiffe://a/b", policy.Read, "x/1") != nil; got != want {
			t.Errorf("%s: allowed is %v", name, got)
		}
		if got := tc.set.Remembers("spiffe://a/b", policy.Read, "x/1"); got != tc.want {
			t.Errorf("%s: remembered is %v", name, got)
		}
	}
}

// TestWhatIsRememberedIsBounded asks more questions of more callers than are
// remembered, from several goroutines.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	set := several(t, `^spiffe://a/.*$`, `^x/[0-9]*7$`)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				id := fmt.Sprintf("spiffe://a/%d", (g*7919+i)%9000)
				if got := set.Allow(id, policy.Read, fmt.Sprint("x/", i)); (got != nil) != (i%10 == 7) {
					t.Errorf("%d: got %v", i, got)
				}
			}
		})
	}
	wg.Wait()
	callers, decisions := set.Remembered()
	if callers > policy.MaxCallers || decisions > policy.MaxDecisions {
		t.Errorf("%d callers and %d decisions are remembered", callers, decisions)
	}
}

// TestOneCallerForgetsItsOwnDecisionsAlone asks for everything as one caller; what
// another was told is still remembered.
func TestOneCallerForgetsItsOwnDecisionsAlone(t *testing.T) {
	set := several(t, `^.*$`, `^x/.*$`)
	set.Allow("spiffe://a/quiet", policy.Read, "x/1")
	for i := range 10 * policy.MaxDecisions {
		set.Allow("spiffe://a/loud", policy.Read, fmt.Sprint("x/", i))
	}
	if !set.Remembers("spiffe://a/quiet", policy.Read, "x/1") {
		t.Error("a caller was made to forget by another")
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{`^a$`, `^a|b$`, `(?m)^a$`, `^(a|b)$`, `^spike/system/.*$`, `^(^a)$$`} {
		f.Add(s, "a")
	}
	for _, seed := range [][2]string{
		{hostile, "spiffe://spike.ist/abcdefgabcdefgh"}, {large, "spiffe://spike.ist/xa01234567890123456789b"},
		{`^spiffe://spike\.ist/(ns/[a-z]+/)?sa/.*$`, "spiffe://spike.ist/ns/shop/sa/web"}, {`^(?i)K+$`, "kK\u212a"},
		{`^a\b.b$`, "a b"}, {`^(?s).*(?m:$)\n$`, "a\n"}, {`^[^a]*$`, "\xff\n"}, {`^ab(|^c|$)$`, "ab"}, {`^.{3}$`, "é é"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		p, err := policy.Compile(policy.Policy{Name: "p", SPIFFEIDPattern: pattern, PathPattern: pattern, Permissions: policy.Read})
		if err != nil {
			return
		}
		re := regexp.MustCompile(pattern)
		if p.Names(subject) != re.MatchString(subject) {
			t.Errorf("%q on %q: got %v", pattern, subject, p.Names(subject))
		}
		// Anchored means that nothing is matched by substring.
		if at := re.FindStringIndex(subject); at != nil && (at[0] != 0 || at[1] != len(subject)) {
			t.Errorf("%q matches a part of %q", pattern, subject)
		}
	})
}
