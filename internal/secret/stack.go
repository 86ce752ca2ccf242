package secret

import "runtime"

// scrubSize is more than any hash or cipher of the standard library has on its
// stack.
const scrubSize = 16 << 10

// Scrubbed calls use, and clears the part of the stack that use had, and the
// registers by which memory is copied: functions that are given key material, or
// that return it, leave it there, and a switch to another goroutine puts registers
// on the stack. It does not reach what they put into the heap, nor the registers that
// the kernel keeps where a signal is handled. The work must be done by functions that
// use calls.
func Scrubbed(use func()) {
	hold(use)
}

// hold keeps so much of the stack in use that the collector, which halves a stack
// of which less than a quarter is, does not move it to another place either. So it is
// for a stack of up to four times scrubSize, to which this has a usual one grow; one
// that was larger before may be moved, and leave a copy where it was.
//
//go:noinline
func hold(use func()) {
	var area [scrubSize]byte
	defer through(area[:1], area[1:2])
	scrub() // has the stack grow now, so that it does not move with copies on it
	defer scrub()
	use()
}

//go:noinline
func scrub() {
	var area [scrubSize]byte
	// So much is copied by way of all vector registers at once.
	through(area[:256], area[256:512])
}

// through also makes the compiler believe that somebody looks at the cleared stack.
//
//go:noinline
func through(to, from []byte) { runtime.KeepAlive(copy(to, from)) }
