package policy

import (
	"math/bits"
	"regexp/syntax"
	"unicode/utf8"
)

// maxTable is how many transitions an automaton may have, at a byte each. Nearly
// all patterns need a few dozen; a few dozen characters can also ask for millions,
// and those are left to a simulation.
const maxTable = 4096

// matcher says what package regexp would say of ASCII subjects. Of others it says
// that it does not know.
type matcher interface {
	match(s string) (matched, known bool)
}

// automaton is a deterministic finite automaton over ASCII: one step for each
// byte, whatever the pattern. It says what package regexp would say.
type automaton struct {
	class   [utf8.RuneSelf]uint8 // bytes that no instruction tells apart
	classes int
	next    []uint8 // by state and class; state 0 is the one from which nothing matches
	accepts []bool  // by state: a subject may end there
}

// pcs is a set of instructions. MaxInstructions of them fit.
type pcs [2]uint64

func (s *pcs) add(pc uint32)     { s[pc/64] |= 1 << (pc % 64) }
func (s pcs) has(pc uint32) bool { return s[pc/64]&(1<<(pc%64)) != 0 }
func (s pcs) and(t pcs) pcs      { return pcs{s[0] & t[0], s[1] & t[1]} }
func (s pcs) or(t pcs) pcs       { return pcs{s[0] | t[0], s[1] | t[1]} }

// each calls f for every member.
func (s pcs) each(f func(pc uint32)) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			f(uint32(i*64 + bits.TrailingZeros64(word)))
		}
	}
}

// newMatcher returns nil for a program that looks at what surrounds a position (\b,
// or ^ and $ of a line), or has more instructions than pcs has bits. first says that
// subjects begin where texts do, and not behind a prefix; table, how many transitions
// an automaton may have.
func newMatcher(prog *syntax.Prog, first bool, table int) matcher {
	if len(prog.Inst) > 64*len(pcs{}) {
		return nil
	}
	// What each instruction leads to without a byte: in the midst of a text, and at
	// its end.
	within, atEnd := make([]pcs, len(prog.Inst)), make([]pcs, len(prog.Inst))
	for pc := range prog.Inst {
		ok := follow(prog, uint32(pc), 0, &within[pc])
		if !ok || !follow(prog, uint32(pc), syntax.EmptyEndText, &atEnd[pc]) {
			return nil
		}
	}
	b := &builder{prog: prog, within: within, atEnd: atEnd, table: table, number: map[pcs]uint8{}}
	b.classify()
	b.state(pcs{}, pcs{}, pcs{}) // nothing leads out of it
	// The first state alone is at the beginning of a text.
	var flags syntax.EmptyOp
	if first {
		flags = syntax.EmptyBeginText
	}
	var start, ending pcs
	follow(prog, uint32(prog.Start), flags, &start)
	follow(prog, uint32(prog.Start), flags|syntax.EmptyEndText, &ending)
	b.states = append(b.states, start)
	b.accepts = append(b.accepts, b.matches(ending))
	for i := 0; i < len(b.states); i++ {
		if !b.step(i) {
			return newSimulation(b, start, b.accepts[1])
		}
	}
	return &b.automaton
}

// follow adds what pc leads to without a byte, where the flags hold. It reports
// whether they say enough.
func follow(prog *syntax.Prog, pc uint32, flags syntax.EmptyOp, into *pcs) bool {
	if into.has(pc) {
		return true
	}
	into.add(pc)
	inst := &prog.Inst[pc]
	switch inst.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return follow(prog, inst.Out, flags, into) && follow(prog, inst.Arg, flags, into)
	case syntax.InstCapture, syntax.InstNop:
		return follow(prog, inst.Out, flags, into)
	case syntax.InstEmptyWidth:
		needs := syntax.EmptyOp(inst.Arg)
		if needs&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
			return false
		}
		return needs&^flags != 0 || follow(prog, inst.Out, flags, into)
	case syntax.InstMatch, syntax.InstFail, syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
	}
	return true
}

// builder makes states of sets of instructions, in the order in which they are met.
type builder struct {
	automaton
	prog          *syntax.Prog
	table         int
	within, atEnd []pcs
	takes         []pcs // by class: the instructions that take such a byte
	states        []pcs // by number: what is to be tried there
	number        map[pcs]uint8
}

// classify puts bytes that the same instructions take into one class.
func (b *builder) classify() {
	known := map[pcs]uint8{}
	for r := range b.class {
		var takes pcs
		for pc := range b.prog.Inst {
			inst := &b.prog.Inst[pc]
			switch inst.Op {
			case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
				if inst.MatchRune(rune(r)) {
					takes.add(uint32(pc))
				}
			}
		}
		class, ok := known[takes]
		if !ok {
			class = uint8(len(known))
			known[takes] = class
			b.takes = append(b.takes, takes)
		}
		b.class[r] = class
	}
	b.classes = len(known)
}

func (b *builder) matches(s pcs) (found bool) {
	s.each(func(pc uint32) { found = found || b.prog.Inst[pc].Op == syntax.InstMatch })
	return found
}

// state returns the number of the state of what was reached, making it if needed.
func (b *builder) state(reached, live, ending pcs) uint8 {
	n, ok := b.number[reached]
	if !ok {
		n = uint8(len(b.states))
		b.number[reached] = n
		b.states = append(b.states, live)
		b.accepts = append(b.accepts, b.matches(ending))
	}
	return n
}

// step fills in where a state leads. It reports whether there is room for that.
func (b *builder) step(state int) bool {
	for class := range b.classes {
		var reached, live, ending pcs
		b.states[state].and(b.takes[class]).each(func(pc uint32) {
			out := b.prog.Inst[pc].Out
			reached.add(out)
			live, ending = live.or(b.within[out]), ending.or(b.atEnd[out])
		})
		if len(b.states) > 255 || len(b.states)*b.classes > b.table {
			return false
		}
		b.next = append(b.next, b.state(reached, live, ending))
	}
	return true
}

// match reports whether the whole of s matches. Beyond ASCII it does not know.
func (a *automaton) match(s string) (matched, known bool) {
	state := 1
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false, false
		}
		if state = int(a.next[state*a.classes+int(a.class[s[i]])]); state == 0 {
			return false, true
		}
	}
	return a.accepts[state], true
}
