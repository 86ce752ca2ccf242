package policy

import (
	"slices"
	"strings"
	"sync"
)

// Bounds of what a set remembers. A decision is a few dozen bytes and a path.
const (
	maxCallers   = 4096
	maxDecisions = 32768 // altogether
	maxOwn       = 1024  // of one caller: whoever asks for everything forgets its own alone
)

// few is how many policies can be asked each time: two or three automata are run
// sooner than a decision is looked up, let alone remembered.
const few = 3

// Set is all policies of a store. It never changes; With and Without make other
// sets. What it remembers of past decisions is its own, and so never outlives a
// change of policy.
type Set struct {
	byName []*Policy // sorted

	mu        sync.RWMutex
	callers   map[string]*caller
	decisions int
}

// caller is what is known of one SPIFFE ID: the policies that name it, and what
// they decided. A workload asks for the same few paths again and again.
type caller struct {
	policies []*Policy
	plain    bool // they are few, and quick: nothing is remembered

	mu      sync.RWMutex
	decided map[question]*Policy // nil for a refusal
}

type question struct {
	want Permission
	path string
}

// NewSet returns a set of policies. Of two with one name, the last counts.
func NewSet(policies ...*Policy) *Set {
	s := &Set{callers: map[string]*caller{}}
	for _, p := range policies {
		s.byName = insert(s.byName, p)
	}
	return s
}

func find(list []*Policy, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(p *Policy, name string) int { return strings.Compare(p.Name, name) })
}

func insert(list []*Policy, p *Policy) []*Policy {
	at, found := find(list, p.Name)
	if found {
		list[at] = p
		return list
	}
	return slices.Insert(list, at, p)
}

// With returns a set that also has p, in the place of the one of its name.
func (s *Set) With(p *Policy) *Set {
	return &Set{byName: insert(slices.Clone(s.byName), p), callers: map[string]*caller{}}
}

// Without returns a set that has no policy of that name.
func (s *Set) Without(name string) *Set {
	return &Set{
		byName:  slices.DeleteFunc(slices.Clone(s.byName), func(p *Policy) bool { return p.Name == name }),
		callers: map[string]*caller{},
	}
}

// Get returns the policy of that name, or nil.
func (s *Set) Get(name string) *Policy {
	if at, found := find(s.byName, name); found {
		return s.byName[at]
	}
	return nil
}

// All returns the policies, sorted by name. The caller must not change it.
func (s *Set) All() []*Policy { return s.byName }

// Allow returns the policy that grants id want at path, or nil.
func (s *Set) Allow(id string, want Permission, path string) *Policy {
	c := s.caller(id)
	if len(c.policies) == 0 {
		return nil
	}
	if c.plain {
		return c.decide(want, path)
	}
	q := question{want, path}
	c.mu.RLock()
	by, known := c.decided[q]
	c.mu.RUnlock()
	if known {
		return by
	}
	// Matching happens outside every lock: a costly pattern is its caller's cost.
	by = c.decide(want, path)
	s.remember(id, c, q, by)
	return by
}

func (c *caller) decide(want Permission, path string) *Policy {
	for _, p := range c.policies {
		if p.Grants(want, path) {
			return p
		}
	}
	return nil
}

// Naming returns the policies that name id and have the permission, or super, at
// paths that are not reserved.
func (s *Set) Naming(id string, want Permission) []*Policy {
	var list []*Policy
	for _, p := range s.caller(id).policies {
		if p.Permissions&(want|Super) != 0 && !p.reserved {
			list = append(list, p)
		}
	}
	return list
}

func (s *Set) caller(id string) *caller {
	s.mu.RLock()
	c := s.callers[id]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	c = &caller{decided: map[question]*Policy{}}
	for _, p := range s.byName {
		if p.Names(id) {
			c.policies = append(c.policies, p)
		}
	}
	c.plain = len(c.policies) <= few &&
		!slices.ContainsFunc(c.policies, func(p *Policy) bool { return !p.path.quick() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.callers[id]; known != nil {
		return known
	}
	if len(s.callers) >= maxCallers {
		s.forgetLocked()
	}
	s.callers[id] = c
	return c
}

// remember keeps a decision. When there are too many, all are forgotten, of the
// caller or altogether: that costs one evaluation each, and needs no bookkeeping
// at every request.
func (s *Set) remember(id string, c *caller, q question, by *Policy) {
	q.path = strings.Clone(q.path)
	c.mu.Lock()
	forgotten := 0
	if len(c.decided) >= maxOwn {
		forgotten = len(c.decided)
		c.decided = map[question]*Policy{}
	}
	c.decided[q] = by
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers[id] != c {
		return // forgotten meanwhile, with its decisions
	}
	s.decisions += 1 - forgotten
	if s.decisions > maxDecisions {
		s.forgetLocked()
	}
}

func (s *Set) forgetLocked() {
	s.callers = map[string]*caller{}
	s.decisions = 0
}
