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

// newMatcher returns what matches the part of subjects that follows prefix; table is
// how many transitions an automaton may have. It returns nil for a program with more
// instructions than pcs has bits.
func newMatcher(prog *syntax.Prog, prefix string, table int) matcher {
	if len(prog.Inst) > 64*len(pcs{}) {
		return nil
	}
	b := &builder{prog: prog, table: table, number: map[pcs]uint8{}}
	b.classify()
	// The first state alone is at the beginning of a text.
	var flags syntax.EmptyOp
	if prefix == "" {
		flags = syntax.EmptyBeginText | syntax.EmptyBeginLine
	}
	if around(prog) {
		return newSimulation(b, flags, prefix)
	}
	// What each instruction leads to without a byte: in the midst of a text, and at
	// its end.
	b.within, b.atEnd = b.follow(0), b.follow(syntax.EmptyEndText)
	b.state(pcs{}, pcs{}, pcs{}) // nothing leads out of it
	start, ending := pcs{}, pcs{}
	follow(prog, uint32(prog.Start), flags, &start)
	follow(prog, uint32(prog.Start), flags|syntax.EmptyEndText, &ending)
	b.states = append(b.states, start)
	b.accepts = append(b.accepts, b.matches(ending))
	for i := 0; i < len(b.states); i++ {
		if !b.step(i) {
			return newSimulation(b, flags, prefix)
		}
	}
	return &b.automaton
}

// around reports whether a program looks at what surrounds a position: \b, \B, or ^
// and $ of a line.
func around(prog *syntax.Prog) bool {
	for i := range prog.Inst {
		inst := &prog.Inst[i]
		if inst.Op == syntax.InstEmptyWidth && syntax.EmptyOp(inst.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
			return true
		}
	}
	return false
}

// follow adds what pc leads to without a byte, where the flags hold.
func follow(prog *syntax.Prog, pc uint32, flags syntax.EmptyOp, into *pcs) {
	if into.has(pc) {
		return
	}
	into.add(pc)
	inst := &prog.Inst[pc]
	switch inst.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		follow(prog, inst.Out, flags, into)
		follow(prog, inst.Arg, flags, into)
	case syntax.InstCapture, syntax.InstNop:
		follow(prog, inst.Out, flags, into)
	case syntax.InstEmptyWidth:
		if syntax.EmptyOp(inst.Arg)&^flags == 0 {
			follow(prog, inst.Out, flags, into)
		}
	case syntax.InstMatch, syntax.InstFail, syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
	}
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

// follow returns what each instruction leads to without a byte, where the flags hold.
func (b *builder) follow(flags syntax.EmptyOp) []pcs {
	list := make([]pcs, len(b.prog.Inst))
	for pc := range list {
		follow(b.prog, uint32(pc), flags, &list[pc])
	}
	return list
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
