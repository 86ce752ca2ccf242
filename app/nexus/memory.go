package main

import (
	"runtime"
	"runtime/debug"
)

// How much garbage may gather before it is collected: slack bytes, and gcPercent of
// what is in use. With Go's own 100 % and no slack, the collector would run after
// every few hundred requests to a small store, for a tenth of what they cost, and
// seldom when a flood of connections and bodies fills the heap.
const (
	slack     = 20 << 20
	gcPercent = 30
)

// paceCollector counts on a block of memory that counts as in use but is never
// touched, and so is never there. The caller calls release at the end.
func paceCollector() (release func()) {
	debug.SetGCPercent(gcPercent)
	block := make([]byte, slack/gcPercent*100)
	return func() { runtime.KeepAlive(block) }
}
