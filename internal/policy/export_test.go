package policy

import "regexp/syntax"

// The bounds, for tests.
const (
	MaxCallers   = maxCallers
	MaxDecisions = maxDecisions
	Few          = few
)

// Remembered returns how many callers and decisions a set remembers.
func (s *Set) Remembered() (callers, decisions int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.callers {
		c.mu.RLock()
		decisions += len(c.decided)
		c.mu.RUnlock()
	}
	return len(s.callers), decisions
}

// Remembers reports whether a decision is remembered.
func (s *Set) Remembers(id string, want Permission, path string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.callers[id]
	if c == nil {
		return false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.decided[question{want, path}]
	return ok
}

// MaxTable bounds an automaton.
const MaxTable = maxTable

// Automata returns how many transitions each of a policy's two automata has: 0
// for a pattern that needs none, -1 for one that is simulated, -2 for one that is
// left to package regexp.
func (p *Policy) Automata() (id, path int) { return p.id.transitions(), p.path.transitions() }

func (p *pattern) transitions() int {
	if p.whole {
		return 0
	}
	switch m := p.rest.(type) {
	case *automaton:
		return len(m.next)
	case *simulation:
		return -1
	}
	return -2
}

// Simulate has the SPIFFE ID pattern simulated, though it may have an automaton.
func (p *Policy) Simulate() error {
	parsed, err := syntax.Parse(p.SPIFFEIDPattern, syntax.Perl)
	if err != nil || p.id.whole {
		return err
	}
	return p.id.compileRest(parsed, 0)
}
