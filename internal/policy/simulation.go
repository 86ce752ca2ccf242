package policy

import (
	"math/bits"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// simulation walks a program with the set of instructions that are to be tried
// next: for patterns whose automaton would be too large, and for those that look at
// what surrounds a position. A step costs what the set does not have in common with
// plain sequences, which move on together in one shift.
type simulation struct {
	class [utf8.RuneSelf]uint8
	takes []pcs // by class: the instructions that take such a byte
	// word says which bytes are of words; none is for a pattern that does not ask.
	word   [utf8.RuneSelf]bool
	before bool      // the byte before the subject is of a word
	at     [2]places // at a position within a word or between words; at a word's boundary
}

// places is what holds at positions of one kind.
type places struct {
	start    pcs        // what is to be tried first
	leads    [2][64]pcs // by instruction: what is to be tried after it
	sequence pcs        // the instructions that lead to the next one and nothing else
	ends     pcs        // the instructions that lead to a match where the text ends
	empty    bool       // a subject without bytes matches
}

// newSimulation takes a program that is classified. flags hold where subjects begin,
// behind prefix. It returns nil for what it could not tell from the subject alone.
func newSimulation(b *builder, flags syntax.EmptyOp, prefix string) matcher {
	if strings.Contains(prefix, "\n") {
		return nil
	}
	s := &simulation{class: b.class, takes: b.takes}
	if around(b.prog) {
		for r := range s.word {
			s.word[r] = syntax.IsWordChar(rune(r))
		}
		s.before = prefix != "" && syntax.IsWordChar(rune(prefix[len(prefix)-1]))
	}
	for kind, word := range []syntax.EmptyOp{syntax.EmptyNoWordBoundary, syntax.EmptyWordBoundary} {
		s.at[kind].fill(b, flags, word)
	}
	return s
}

func (p *places) fill(b *builder, flags, word syntax.EmptyOp) {
	const end = syntax.EmptyEndText | syntax.EmptyEndLine
	within, atEnd := b.follow(word), b.follow(word|end)
	var ending pcs
	follow(b.prog, uint32(b.prog.Start), flags|word, &p.start)
	follow(b.prog, uint32(b.prog.Start), flags|word|end, &ending)
	p.empty = b.matches(ending)
	for pc := range b.prog.Inst {
		inst := &b.prog.Inst[pc]
		switch inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		default:
			continue // it takes no byte, and so nothing comes after it
		}
		leads, next := within[inst.Out], pcs{}
		if pc+1 < len(b.prog.Inst) {
			next.add(uint32(pc) + 1)
		}
		p.leads[pc/64][pc%64] = leads
		if leads == next {
			p.sequence.add(uint32(pc))
		}
		if b.matches(atEnd[inst.Out]) {
			p.ends.add(uint32(pc))
		}
	}
}

// match reports whether the whole of text matches. Beyond ASCII, and of lines, it
// does not know.
func (s *simulation) match(text string) (matched, known bool) {
	if text == "" {
		return s.at[kind(s.before, false)].empty, true
	}
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf || text[i] == '\n' {
			return false, false
		}
	}
	live := s.at[kind(s.before, s.word[text[0]])].start
	last := len(text) - 1
	for i := range last {
		taken := live.and(s.takes[s.class[text[i]]])
		p := &s.at[kind(s.word[text[i]], s.word[text[i+1]])]
		if live = p.after(taken); live == (pcs{}) {
			return false, true
		}
	}
	taken := live.and(s.takes[s.class[text[last]]])
	return taken.and(s.at[kind(s.word[text[last]], false)].ends) != pcs{}, true
}

// kind says of which kind the position between two bytes is.
func kind(before, after bool) int {
	if before != after {
		return 1
	}
	return 0
}

// after returns what is to be tried after the instructions that took a byte.
func (p *places) after(taken pcs) pcs {
	together := taken.and(p.sequence)
	next := pcs{together[0] << 1, together[1]<<1 | together[0]>>63}
	for half, apart := range [2]uint64{taken[0] &^ p.sequence[0], taken[1] &^ p.sequence[1]} {
		for ; apart != 0; apart &= apart - 1 {
			leads := &p.leads[half][bits.TrailingZeros64(apart)]
			next[0] |= leads[0]
			next[1] |= leads[1]
		}
	}
	return next
}
