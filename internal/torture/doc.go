// Package torture ends real SPIKE clusters in every way that there is, under load
// and again and again, and holds what their clients saw against a model: nothing
// that was answered is lost, and nothing that was seen is ever unseen. It also
// looks for secrets and keys where none may be.
//
// It has tests alone. They are short by themselves; scripts/torture runs them at
// length.
package torture
