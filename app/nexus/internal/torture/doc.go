// Package torture damages the file of a real store in every way that there is:
// nothing is served of a file that was tampered with, and a write-ahead log that
// was cut anywhere opens as exactly what was committed before the cut.
//
// It has tests alone. They are short by themselves; scripts/torture runs them at
// length.
package torture
