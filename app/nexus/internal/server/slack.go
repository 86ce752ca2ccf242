package server

import (
	"runtime"
	"sync"
	"time"
)

const (
	// slackSize is how much garbage may gather, in bytes, beyond as much again as
	// is in use.
	slackSize = 32 << 20
	// slackPause is how long there is none after large bodies.
	slackPause = 5 * time.Second
)

// slack has the garbage collector run seldom while little is in use. By itself it
// would run after every few hundred requests to a small store, for a tenth of what
// they cost.
//
// It is a block of memory that counts as in use, so that the collector lets as much
// garbage gather, but that is never touched, and so is never there. While there are
// large bodies, memory is needed for those, and there is no slack.
type slack struct {
	mu     sync.Mutex
	block  []byte // nil while there are large bodies, and for a while after
	bodies int
	back   *time.Timer
}

func newSlack() *slack { return &slack{block: newBlock()} }

// newBlock is half as large: it, too, may be there again in garbage.
func newBlock() []byte { return make([]byte, slackSize/2) }

// giveUp is called when a large body is about to come, and takeBack when it is done.
func (s *slack) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies++
	if s.back != nil {
		s.back.Stop()
		s.back = nil
	}
	if s.block != nil {
		s.block = nil
		// Until it has run, the collector goes by what was in use before.
		runtime.GC()
	}
}

func (s *slack) takeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies--; s.bodies == 0 {
		s.back = time.AfterFunc(slackPause, s.restore)
	}
}

func (s *slack) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies == 0 && s.block == nil {
		s.block = newBlock()
	}
}
