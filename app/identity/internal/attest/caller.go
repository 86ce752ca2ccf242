// Package attest finds out who is at the other end of a Unix socket by asking
// the kernel: user, group, and which file the process runs.
//
// This tells the honest programs of one user apart, not hostile ones: whoever
// is that user can run any of its programs, or look into them.
package attest

import (
	"github.com/spiffe/spike/app/identity/internal/entry"
)

// Caller is what was seen of a caller at one moment.
type Caller struct {
	UID, GID uint32

	// PID is zero when the caller is in a PID namespace that cannot be seen
	// from here.
	PID int32

	// ExeName is the kernel's name for the executable, for people. It is
	// another user's text, and empty when ExeErr is set.
	ExeName string

	// ExeErr says why the executable could not be seen.
	ExeErr error

	// UIDUnknown and GIDUnknown say that the number is the stand-in which the kernel
	// shows for everyone who has none in this user namespace: it says nothing about
	// who it is, and fits no entry.
	UIDUnknown, GIDUnknown bool

	exe FileID
}

// Matches tells whether every selector of e was checked and fits.
func (c Caller) Matches(e entry.Entry) bool {
	if c.UIDUnknown || c.UID != e.UID {
		return false
	}
	if e.GID != nil && (c.GIDUnknown || c.GID != *e.GID) {
		return false
	}
	return e.Path == "" || c.Runs(e.Path)
}

// Runs tells whether the caller's executable is the file that name leads to now.
func (c Caller) Runs(name string) bool {
	if c.ExeErr != nil {
		return false
	}
	named, err := fileID(name)
	return err == nil && named == c.exe
}
