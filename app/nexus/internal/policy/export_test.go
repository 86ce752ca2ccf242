package policy

// The bounds, for tests.
const (
	MaxCallers   = maxCallers
	MaxDecisions = maxDecisions
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
