package main

import (
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/process"
)

// These end a Nexus whose store failed once it ran, after and before it was opened.
// Neither is said of one that could not start: its message says what is wrong.
var (
	errStoreFailed   = errors.New("the store failed while Nexus served")
	errStoreUnopened = errors.New("the store was not opened, and nothing was served")
)

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
	case errors.Is(err, errStoreFailed), errors.Is(err, errStoreUnopened):
		return exitStoreFailed
	}
	return process.ExitCode(err)
}

// storeFailure is why a vault has failed, or nil.
func storeFailure(v *vault.Vault) error {
	err := v.Failure()
	if err == nil {
		return nil
	}
	select {
	case <-v.Opened():
		return fmt.Errorf("%w: %w", errStoreFailed, err)
	default:
		return fmt.Errorf("%w: %w", errStoreUnopened, err)
	}
}
