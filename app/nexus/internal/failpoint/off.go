//go:build !failpoint

// Package failpoint names the places at which a test may end the program. In an
// ordinary build a place is nothing at all; with the build tag "failpoint" the
// program kills itself at the one that SPIKE_FAILPOINT names.
package failpoint

// Hit is a place that can be the last.
func Hit(string) {}
