package main

import (
	"errors"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/process"
)

// errStoreFailed ends a Nexus that served. It is not said of one that could not
// start: its message says what is wrong.
var errStoreFailed = errors.New("the store failed while Nexus served")

// Exit codes beyond those that every server has. A supervisor can tell by them
// whether starting Nexus again helps.
const (
	exitStoreFailed  = 3 // it does: the next start reads what is really on the disk
	exitStoreDamaged = 4 // it does not: somebody has to look after the data
)

func exitCode(err error) int {
	switch {
	case errors.Is(err, vault.ErrDamaged):
		return exitStoreDamaged
	case errors.Is(err, errStoreFailed):
		return exitStoreFailed
	}
	return process.ExitCode(err)
}
