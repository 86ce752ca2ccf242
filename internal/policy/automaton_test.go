package policy_test

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/internal/policy"
)

// TestAutomata names patterns that have one, and patterns that are simulated.
func TestAutomata(t *testing.T) {
	const automaton, simulation = 1, -1
	for pattern, want := range map[string]int{
		`^spiffe://spike\.ist/.*$`: automaton, `^.*$`: automaton, `^(?i)web/.*$`: automaton, `^(a|b)*$|^c+$`: automaton,
		`^a(^b|c)$`: automaton, hostile: automaton, `^a.*\z$`: automaton, `^[^a]?$`: automaton, `^web/(db|cache)-[0-9a-f]{8}$`: automaton,
		large: simulation, dense: simulation, `^.*[a-f].{20}[ab]$`: simulation,
		`^a\b.*$`: simulation, `^.*\Bb$`: simulation, `^a.(?m:^)b$`: simulation, `^a.*(?m:$).b$`: simulation,
	} {
		p := compile(t, "p", pattern, pattern, policy.Read)
		id, path := p.Automata()
		if min(id, automaton) != want || path != id || id > policy.MaxTable {
			t.Errorf("%s: %d transitions", pattern, id)
		}
	}
	if id, _ := compile(t, "p", `^web/db$`, `^x$`, policy.Read).Automata(); id != 0 {
		t.Errorf("a literal has %d transitions", id)
	}
}

// piece draws a part of a pattern, of a small alphabet so that subjects match.
func piece() *rapid.Generator[string] {
	atom := rapid.SampledFrom([]string{
		"a", "b", "ab", "ba/", ".", "[ab]", "[^a]", "[a-c]", `\.`, "(?i:a)", "(?i:k)", "(?s:.)", `\n`, `\w`, `[[:^alpha:]]`, "é", "^", "$", `\b`, `\z`,
		"(?m:^)", "(?m:$)", "(?:)", `\B`, " ", "-",
	})
	return rapid.Custom(func(t *rapid.T) string {
		var list []string
		for range rapid.IntRange(1, 4).Draw(t, "length") {
			s := atom.Draw(t, "atom")
			switch rapid.IntRange(0, 5).Draw(t, "form") {
			case 0:
				s = "(?:" + s + ")" + rapid.SampledFrom([]string{"*", "+", "?", "*?", "{2}", "{0,3}"}).Draw(t, "repeat")
			case 1:
				s = "(" + s + "|" + atom.Draw(t, "other") + ")"
			case 2:
				s = "(" + s + atom.Draw(t, "next") + ")*"
			}
			list = append(list, s)
		}
		return strings.Join(list, "")
	})
}

// TestAutomataAgainstRegexp draws patterns and subjects, and wants the answer of
// package regexp.
func TestAutomataAgainstRegexp(t *testing.T) {
	subject := rapid.StringOfN(rapid.SampledFrom([]rune("aaabbc/. -\nAkKé")), 0, 12, -1)
	used, simulated := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SampledFrom([]string{"", "^", "ab", "(?i)", "a ", "b-", "\n"}).Draw(t, "before") + piece().Draw(t, "piece")
		pattern = "^" + pattern + "$"
		p, err := policy.Compile(policy.Policy{Name: "p", SPIFFEIDPattern: pattern, PathPattern: "^a$", Permissions: policy.Read})
		if err != nil {
			return
		}
		if id, _ := p.Automata(); id > 0 {
			used++
		}
		other := *p
		if err := other.Simulate(); err != nil {
			t.Fatal(err)
		}
		if id, _ := other.Automata(); id == -1 {
			simulated++
		}
		re := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
		for range 20 {
			s := subject.Draw(t, "subject")
			want := re.MatchString(s)
			if got, simulated := p.Names(s), other.Names(s); got != want || simulated != want {
				t.Fatalf("%q on %q: got %v, and %v simulated", pattern, s, got, simulated)
			}
		}
	})
	if used == 0 || simulated == 0 {
		t.Errorf("%d automata and %d simulations were used", used, simulated)
	}
}

// least returns the least time that f took: what else the machine does adds to all.
func least(f func()) time.Duration {
	best := time.Duration(math.MaxInt64)
	for range 7 {
		began := time.Now()
		f()
		best = min(best, time.Since(began))
	}
	return best
}

// TestCold: the first request of a caller after a change, with 1,000 policies that
// are as costly as they may be and do not name it, costs at most half of what the same
// regular expressions do, altogether. (The benchmark of the same name says how much.)
func TestCold(t *testing.T) {
	const id = "spiffe://spike.ist/ns/1/abcdefg-abcdefg-web-frontend"
	var ours, theirs time.Duration
	for _, pattern := range []string{hostile, large, dense, bounded} {
		var list []*policy.Policy
		for i := range 1000 {
			list = append(list, compile(t, fmt.Sprint("p", i), pattern, pattern, policy.Read))
		}
		s := policy.NewSet(list...)
		ours += least(func() {
			if s.With(list[0]).Allow(id, policy.Read, "a") != nil {
				t.Error("allowed")
			}
		})
		re := regexp.MustCompile(pattern)
		theirs += least(func() {
			for range list {
				if re.MatchString(id) {
					t.Error("matched")
				}
			}
		})
	}
	if ours > theirs/2 {
		t.Errorf("%s, where package regexp takes %s", ours, theirs)
	}
}

// TestWarm: 1,000 policies that name a caller, with costly paths, are decided once.
func TestWarm(t *testing.T) {
	var list []*policy.Policy
	for i := range 1000 {
		list = append(list, compile(t, fmt.Sprint("p", i), `^.*$`, strings.ReplaceAll(dense, `spiffe://spike\.ist/`, "web/"), policy.Read))
	}
	s := policy.NewSet(list...)
	ask := func(set *policy.Set) func() {
		return func() {
			if set.Allow("spiffe://spike.ist/web", policy.Read, "web/abcdefg-abcdefg-abcdefg/db") != nil {
				t.Error("allowed")
			}
		}
	}
	cold := least(func() { ask(s.With(list[0]))() })
	ask(s)()
	if warm := least(ask(s)); warm > cold/20 {
		t.Errorf("%s, and %s when it was decided already", cold, warm)
	}
}
