package policy

import (
	"math/bits"
	"unicode/utf8"
)

// simulation walks a program with the set of instructions that are to be tried
// next: for patterns whose automaton would be too large. A step costs what the set
// does not have in common with plain sequences, which move on together in one shift.
type simulation struct {
	class    [utf8.RuneSelf]uint8
	takes    []pcs      // by class: the instructions that take such a byte
	leads    [2][64]pcs // by instruction: what is to be tried after it
	sequence pcs        // the instructions that lead to the next one and nothing else
	start    pcs
	ends     pcs // the instructions from which the end of a text is a match
	empty    bool
}

// newSimulation takes what the builder knows of a program before its states; empty
// says that a subject without bytes matches.
func newSimulation(b *builder, start pcs, empty bool) *simulation {
	s := &simulation{class: b.class, takes: b.takes, start: start, empty: empty}
	for pc := range b.prog.Inst {
		out, next, leads := b.prog.Inst[pc].Out, pcs{}, &s.leads[pc/64][pc%64]
		if int(out) < len(b.within) {
			*leads = b.within[out]
		}
		if pc+1 < len(b.within) {
			next.add(uint32(pc) + 1)
		}
		if *leads == next {
			s.sequence.add(uint32(pc))
		}
		if b.matches(b.atEnd[pc]) {
			s.ends.add(uint32(pc))
		}
	}
	return s
}

// match reports whether the whole of text matches. Beyond ASCII it does not know.
func (s *simulation) match(text string) (matched, known bool) {
	if text == "" {
		return s.empty, true
	}
	live := s.start
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false, false
		}
		live = live.and(s.takes[s.class[text[i]]])
		together := live.and(s.sequence)
		next := pcs{together[0] << 1, together[1]<<1 | together[0]>>63}
		for half, apart := range [2]uint64{live[0] &^ s.sequence[0], live[1] &^ s.sequence[1]} {
			for ; apart != 0; apart &= apart - 1 {
				leads := &s.leads[half][bits.TrailingZeros64(apart)]
				next[0] |= leads[0]
				next[1] |= leads[1]
			}
		}
		if live = next; live == (pcs{}) {
			return false, true
		}
	}
	return live.and(s.ends) != pcs{}, true
}
