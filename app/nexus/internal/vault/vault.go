// Package vault is the domain: whether the store is sealed or open, the secrets
// and their versions, and who may do what. It owns all state, and knows no
// HTTP, no SQL and no environment.
//
// Reads are answered from an immutable snapshot in memory and wait for nothing.
// All changes go through one goroutine, the committer, which makes them durable
// before anybody sees them.
package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// Errors of the vault's own; what callers are answered with is in package api.
var (
	// ErrWrongKey: this is not the root key of this store.
	ErrWrongKey = errors.New("not this store's root key")
	// ErrClosed: the vault was closed, or has failed.
	ErrClosed = errors.New("the vault is closed")
)

// Config configures a [Vault].
type Config struct {
	Store Store
	Audit Auditor
	Log   *slog.Logger
	// MaxVersions is how many versions of a secret are kept, 10 unless set.
	MaxVersions int
}

// Vault holds all secrets of one store. Its methods are safe for concurrent use.
type Vault struct {
	store       Store
	audit       Auditor
	log         *slog.Logger
	maxVersions int

	current atomic.Pointer[snapshot] // nil unless open
	opened  chan struct{}            // closed once open, or behind
	failed  chan struct{}            // closed once failed
	full    atomic.Bool              // the last commit found no room

	// lifecycle is held while the vault is created, unlocked or closed.
	lifecycle sync.Mutex

	// mu guards what follows; it is never held across work.
	mu        sync.Mutex
	state     string
	failure   error
	rollback  *Rollback // while behind
	header    *Header
	keys      *seal.Keyring
	shares    []shareRecord
	committer *committer
	stopping  bool // no writes, even if it opens yet
}

// snapshot is everything that reads need. It never changes once published.
type snapshot struct {
	held
	accepted bool // it opens a new epoch, and so ends being behind
}

// New returns the vault of a store: uninitialized when the store has no header,
// and locked when it has one.
func New(ctx context.Context, c Config) (*Vault, error) {
	v := &Vault{
		store: c.Store, audit: c.Audit, log: c.Log, maxVersions: c.MaxVersions,
		opened: make(chan struct{}), failed: make(chan struct{}),
		state: api.StateUninitialized,
	}
	if v.maxVersions == 0 {
		v.maxVersions = 10
	}
	raw, state, err := v.store.Load(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	if raw == nil {
		if state.Sequence != 0 {
			return nil, damaged("it has no header, but %d commits", state.Sequence)
		}
		return v, nil
	}
	if v.header, err = ParseHeader(raw); err != nil {
		return nil, err
	}
	v.state = api.StateLocked
	return v, nil
}

// State returns one of the api.State constants.
func (v *Vault) State() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// Header returns the store's header, or nil while there is none. It must not be
// changed.
func (v *Vault) Header() *Header {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.header
}

// Opened is closed once the vault has its keys: it is open then, or behind.
func (v *Vault) Opened() <-chan struct{} { return v.opened }

// Failed is closed when a storage fault made the vault useless. [Vault.Failure]
// says what it was; the program should end and be started again.
func (v *Vault) Failed() <-chan struct{} { return v.failed }

// Failure returns why the vault failed, or nil.
func (v *Vault) Failure() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failure
}

// Size returns how many secrets there are and the sequence number of the last
// commit; ok is false unless the vault is open.
func (v *Vault) Size() (secrets int, sequence uint64, ok bool) {
	s := v.current.Load()
	if s == nil {
		return 0, 0, false
	}
	return s.secrets.Len(), s.state.sequence, true
}

// Full reports whether the last write was refused because the store has no room.
func (v *Vault) Full() bool { return v.full.Load() }

// fail makes the vault useless for good, and says why once.
func (v *Vault) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failure != nil {
		return
	}
	v.failure = err
	v.state = api.StateFailed
	v.current.Store(nil)
	close(v.failed)
	if errors.Is(err, ErrDamaged) {
		v.log.Error("the store is damaged; nothing is served, and starting Nexus again does not help", "error", err)
	} else {
		v.log.Error("the store failed; nothing is served until Nexus is started again", "error", err)
	}
}

// Sign signs a message to a Keeper with the root key's signing key.
func (v *Vault) Sign(message []byte) ([]byte, error) {
	keys := v.keyring()
	if keys == nil {
		return nil, api.ErrNotReady
	}
	return keys.Sign(message)
}

// PublicKey is the key that Sign's signatures verify under, or nil unless open.
func (v *Vault) PublicKey() []byte {
	keys := v.keyring()
	if keys == nil {
		return nil
	}
	return keys.PublicKey()
}

func (v *Vault) keyring() *seal.Keyring {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys
}

// Share returns the share of that set and index, on pages of its own for the
// caller to destroy. There are none unless the vault is open.
func (v *Vault) Share(set string, index int) (secret.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.shares {
		if s.set == set && s.index == index {
			return s.value.Clone()
		}
	}
	return secret.Key{}, fmt.Errorf("%s share %d: %w", set, index, api.ErrNotReady)
}

// StopWrites refuses new writes from now on, and waits for those that were
// accepted. Reads go on.
func (v *Vault) StopWrites() {
	v.mu.Lock()
	v.stopping = true
	c := v.committer
	v.mu.Unlock()
	if c != nil {
		c.stop()
	}
}

// Close ends the vault: accepted writes are committed, the store is closed, the
// keys are wiped.
func (v *Vault) Close() error {
	v.StopWrites()
	v.lifecycle.Lock()
	defer v.lifecycle.Unlock()
	v.StopWrites() // of a vault that was opened meanwhile
	err := v.store.Close()

	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.current.Swap(nil); s != nil {
		for _, k := range s.ciphers {
			k.key.Destroy()
		}
	}
	if v.failure == nil {
		v.failure = ErrClosed
		v.state = api.StateFailed
	}
	if v.keys != nil {
		v.keys.Destroy()
	}
	for _, s := range v.shares {
		s.value.Destroy()
	}
	v.shares = nil
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// open makes what was loaded or created the vault's state and starts serving,
// unless the store is behind. It is called with lifecycle held.
func (v *Vault) open(header *Header, keys *seal.Keyring, content *content, behind *Rollback) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.header, v.keys, v.shares = header, keys, content.shares
	v.committer = newCommitter(v, keys, content.held)
	if behind != nil {
		v.setBehindLocked(behind)
	} else {
		v.current.Store(&snapshot{held: content.copy()})
		v.state = api.StateOpen
	}
	close(v.opened)
}
