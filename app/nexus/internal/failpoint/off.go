//go:build !failpoint

// Package failpoint names the places at which a test may end the program, or
// have it do wrong. In an ordinary build a place is nothing at all. With the
// build tag "failpoint" the program kills itself at the one that SPIKE_FAILPOINT
// names, and makes the mistake that SPIKE_FAULT names, so that tests can show
// that they would notice it.
package failpoint

// Hit is a place that can be the last.
func Hit(string) {}

// Fault reports whether to make a mistake on purpose: never.
func Fault(string) bool { return false }
