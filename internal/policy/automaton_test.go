package policy_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/internal/policy"
)

// TestAutomata names patterns that have one, that are simulated, and that package
// regexp takes.
func TestAutomata(t *testing.T) {
	const automaton, simulation, left = 1, -1, -2
	for pattern, want := range map[string]int{
		`^spiffe://spike\.ist/.*$`: automaton, `^.*$`: automaton, `^(?i)web/.*$`: automaton, `^(a|b)*$|^c+$`: automaton,
		`^a(^b|c)$`: automaton, hostile: automaton, `^a.*\z$`: automaton, `^[^a]?$`: automaton, `^web/(db|cache)-[0-9a-f]{8}$`: automaton,
		large: simulation, dense: simulation, `^.*[a-f].{20}[ab]$`: simulation,
		`^a\b.*$`: left, `^.*\Bb$`: left, `^a.(?m:^)b$`: left, `^a.*(?m:$).b$`: left,
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
		"(?m:^)", "(?m:$)", "(?:)",
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
	subject := rapid.StringOfN(rapid.SampledFrom([]rune("aaabbc/.\nAkKé")), 0, 12, -1)
	used, simulated := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SampledFrom([]string{"", "^", "ab", "(?i)"}).Draw(t, "before") + piece().Draw(t, "piece")
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

// TestColdCallers: the first request of a caller after a change, with 1,000
// policies that are as costly as they may be. It takes 0.1 to 0.6 ms; the limit
// says that it is not the whole of what a regular expression may cost.
func TestColdCallers(t *testing.T) {
	const n = 1000
	for _, pattern := range []string{hostile, large} {
		var list []*policy.Policy
		for i := range n {
			list = append(list, compile(t, fmt.Sprint("p", i), pattern, pattern, policy.Read))
		}
		s := policy.NewSet(list...)
		began := time.Now()
		for i := range 10 {
			if s.Allow(fmt.Sprintf("spiffe://spike.ist/ns/%d/abcdefg-abcdefg-web-frontend", i), policy.Read, "a") != nil {
				t.Error("allowed")
			}
		}
		if took := time.Since(began) / 10; took > 20*time.Millisecond {
			t.Errorf("%s for %d policies of %s", took, n, pattern)
		}
	}
}
