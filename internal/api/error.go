// Package api has what Nexus and its clients say to each other: routes, bodies,
// error codes, and the rules that a request must keep by itself.
package api

import (
	"errors"
	"net/http"
)

// Code is an error as a client sees it; nothing else is ever said to it.
type Code string

// The sentinels that a status and code on the wire stand for. Nexus answers
// with them, and the client returns the same ones, so that errors.Is works
// across the wire.
var (
	ErrBadRequest         = errors.New("bad request")
	ErrUnauthorized       = errors.New("not allowed")
	ErrNotFound           = errors.New("not found")
	ErrInternal           = errors.New("internal error")
	ErrNotReady           = errors.New("not ready: no root key")
	ErrVersionConflict    = errors.New("the current version is another one")
	ErrAlreadyInitialized = errors.New("already initialized")
	ErrUninitialized      = errors.New("not initialized")
	ErrNotBehind          = errors.New("the store is not behind")
	ErrKeeperHoldsShare   = errors.New("a Keeper already holds an active share")
	ErrKeeperUnreachable  = errors.New("a Keeper cannot be reached")
	ErrShardCorrupt       = errors.New("the shard is corrupt")
	ErrShardForeign       = errors.New("the shard belongs to another cluster")
	ErrShardStale         = errors.New("the shard belongs to an outdated root key")
	ErrShardDuplicate     = errors.New("the shard was given before")
	ErrTooManyAttempts    = errors.New("too many attempts")
	ErrNoRootKeyBackend   = errors.New("this backend has no root key to manage")
	// ErrStoreMismatch: shares that are each as the store's header says do not make
	// its root key. No single share is at fault.
	ErrStoreMismatch = errors.New("the store's header and the shares do not belong together")
	ErrBackupInvalid = errors.New("not a whole backup")
	ErrNoRoom        = errors.New("no room on the disk")
)

// wire is the one table between errors, statuses and codes. The order matters
// where an error wraps several: the first that fits is sent.
var wire = [...]struct {
	err    error
	status int
	code   Code
}{
	{ErrAlreadyInitialized, http.StatusConflict, "state_already_initialized"},
	{ErrUninitialized, http.StatusConflict, "state_uninitialized"},
	{ErrNotBehind, http.StatusConflict, "state_not_behind"},
	{ErrKeeperHoldsShare, http.StatusConflict, "keeper_holds_share"},
	{ErrKeeperUnreachable, http.StatusConflict, "keeper_unreachable"},
	{ErrShardCorrupt, http.StatusBadRequest, "shard_corrupt"},
	{ErrShardForeign, http.StatusBadRequest, "shard_foreign"},
	{ErrShardStale, http.StatusBadRequest, "shard_stale"},
	{ErrShardDuplicate, http.StatusBadRequest, "shard_duplicate"},
	{ErrTooManyAttempts, http.StatusBadRequest, "too_many_attempts"},
	{ErrNoRootKeyBackend, http.StatusBadRequest, "backend_has_no_root_key"},
	{ErrStoreMismatch, http.StatusConflict, "store_mismatch"},
	{ErrBackupInvalid, http.StatusBadRequest, "backup_invalid"},
	{ErrNoRoom, http.StatusConflict, "no_room"},
	{ErrVersionConflict, http.StatusConflict, "entity_version_invalid"},
	{ErrBadRequest, http.StatusBadRequest, "api_bad_request"},
	{ErrUnauthorized, http.StatusUnauthorized, "access_unauthorized"},
	{ErrNotFound, http.StatusNotFound, "api_not_found"},
	{ErrNotReady, http.StatusServiceUnavailable, "state_not_ready"},
	{ErrInternal, http.StatusInternalServerError, "api_internal_error"},
}

// Wire returns the status and code that err is answered with. An error that is
// none of the sentinels is an internal one.
func Wire(err error) (status int, code Code) {
	for _, w := range wire {
		if errors.Is(err, w.err) {
			return w.status, w.code
		}
	}
	return http.StatusInternalServerError, "api_internal_error"
}

// FromWire returns the sentinel that an answer stands for, or nil for a 200
// without a code. The code decides; a code that is not known falls back on the
// status.
func FromWire(status int, code Code) error {
	if status == http.StatusOK && code == "" {
		return nil
	}
	for _, w := range wire {
		if w.code == code {
			return w.err
		}
	}
	switch status {
	case http.StatusBadRequest:
		return ErrBadRequest
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrUnauthorized
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusConflict:
		return ErrVersionConflict
	case http.StatusServiceUnavailable:
		return ErrNotReady
	}
	return ErrInternal
}
