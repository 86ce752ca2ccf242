package policy_test

import (
	"fmt"
	"testing"

	"github.com/spiffe/spike/internal/policy"
)

// large needs an automaton that is beyond the limit.
const large = `^spiffe://spike\.ist/.*[a-f].{20}[ab]$`

// dense is simulated as well, with many instructions to be tried at each step that
// do not move on together.
const dense = `^spiffe://spike\.ist/.*[a-w].{6}(.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?)(.[a-w]?|[^x].?)*!$`

// hostile takes nearly all the instructions that are allowed, and matches late
// or never.
const hostile = `^spiffe://spike\.ist/(.*a.*b.*c.*d.*e.*f.*g.*)*h$`

// bounded looks at what surrounds a position, and is simulated for that.
const bounded = `^spiffe://spike\.ist/.*\b[a-w].*\B.{9}!$`

func set(b *testing.B, n int, id, path func(int) string) *policy.Set {
	var list []*policy.Policy
	for i := range n {
		list = append(list, compile(b, fmt.Sprint("p", i), id(i), path(i), policy.Read))
	}
	return policy.NewSet(list...)
}

// BenchmarkCold is a caller's first request after a change, with 1,000 policies.
func BenchmarkCold(b *testing.B) {
	const id = "spiffe://spike.ist/ns/production/sa/abcdefg-web-frontend"
	others := func(i int) string { return fmt.Sprintf(`^spiffe://spike\.ist/workload/%d$`, i) }
	path := func(int) string { return `^web/.*$` }
	for name, ids := range map[string]func(int) string{
		"others": others, "hostile": func(int) string { return hostile }, "large": func(int) string { return large },
		"dense": func(int) string { return dense }, "bounded": func(int) string { return bounded },
	} {
		b.Run(name, func(b *testing.B) {
			s := set(b, 1000, ids, path)
			for b.Loop() {
				s.With(s.All()[0]).Allow(id, policy.Read, "web/db")
			}
		})
	}
}

// BenchmarkWarm is every later one.
func BenchmarkWarm(b *testing.B) {
	s := set(b, 1000, func(int) string { return `^.*$` }, func(int) string { return `^(.*a.*b.*c.*d.*e.*f.*g.*)*h$` })
	b.ReportAllocs()
	for b.Loop() {
		s.Allow("spiffe://spike.ist/web", policy.Read, "web/db")
	}
}

// BenchmarkCompile is what writing or loading a policy costs.
func BenchmarkCompile(b *testing.B) {
	for name, id := range map[string]string{"plain": `^spiffe://spike\.ist/ns/web/.*$`, "hostile": hostile, "large": large} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				compile(b, "p", id, `^web/db$`, policy.Read)
			}
		})
	}
}
