package rootkey

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
	"github.com/spiffe/spike/internal/shard"
)

const (
	// restoreTries is how many shards may be refused in a minute. Right ones are not
	// counted: nobody guesses one, and junk must not keep its holders out.
	restoreTries = 10
	// restoreLife is how long an incomplete set is kept.
	restoreLife = time.Hour
)

// Recover returns the recovery shards, all of them.
func (m *Manager) Recover(ctx context.Context, caller vault.Caller) (api.OperatorRecoverResponse, error) {
	// A backend without a root key to give says so, and not that it will have one.
	if m.config.HasRootKey && m.vault.State() != api.StateOpen {
		// The answer is the same for everyone; who tried to take the shards out is not.
		return api.OperatorRecoverResponse{}, m.vault.Refuse(ctx, caller, vault.OpOperatorRecover, api.ErrNotReady)
	}
	r, err := m.vault.Begin(ctx, caller, vault.OpOperatorRecover)
	if err != nil {
		return api.OperatorRecoverResponse{}, err
	}
	res, err := m.recoveryShards()
	if err = r.Done(ctx, err); err != nil {
		return api.OperatorRecoverResponse{}, err
	}
	return res, nil
}

func (m *Manager) recoveryShards() (api.OperatorRecoverResponse, error) {
	if !m.config.HasRootKey {
		return api.OperatorRecoverResponse{}, api.ErrNoRootKeyBackend
	}
	h := m.vault.Header()
	res := api.OperatorRecoverResponse{
		Shards:  make(map[int]shard.Value, len(h.Paper)),
		Cluster: h.Cluster.String(), KeyID: h.KeyID.String(), Threshold: h.Threshold,
	}
	for index := 1; index <= len(h.Paper); index++ {
		value, err := m.vault.Share(keeper.SetPaper, index)
		if err != nil {
			return api.OperatorRecoverResponse{}, err
		}
		var out shard.Value
		err = value.Expose(func(b []byte) error {
			copy(out[:], b)
			return nil
		})
		value.Destroy()
		if err != nil {
			return api.OperatorRecoverResponse{}, err
		}
		res.Shards[index] = out
	}
	return res, nil
}

// collection is the recovery shards that people have fed in so far.
type collection struct {
	mu     sync.Mutex
	shares []shamir.Share
	tries  []time.Time // that were refused, within the last minute
	expiry *time.Timer
	added  int // how many shares were, ever
	// A complete set is not in shares any more while it opens the vault, which can
	// take a while: opening is closed when that has ended, and tried is its size.
	opening chan struct{}
	tried   int
}

// drop wipes what was collected.
func (c *collection) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked()
}

func (c *collection) dropLocked() {
	shamir.Destroy(c.shares)
	c.shares = nil
	if c.expiry != nil {
		c.expiry.Stop()
	}
}

// tryLocked counts a refusal, and says whether the reason may be told.
func (c *collection) tryLocked(now time.Time) bool {
	for len(c.tries) > 0 && now.Sub(c.tries[0]) >= time.Minute {
		c.tries = c.tries[1:]
	}
	if len(c.tries) >= restoreTries {
		return false
	}
	c.tries = append(c.tries, now)
	return true
}

func (c *collection) hasLocked(index int) bool {
	for _, s := range c.shares {
		if s.Index == index {
			return true
		}
	}
	return false
}

func (c *collection) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.shares) + c.tried
}

// lockBetween locks c when no complete set is being tried.
func (c *collection) lockBetween() {
	for c.mu.Lock(); c.opening != nil; c.mu.Lock() {
		opening := c.opening
		c.mu.Unlock()
		<-opening
	}
}

// takeLocked takes the shares out, to be tried; nobody else can change them then.
func (c *collection) takeLocked() []shamir.Share {
	shares := c.shares
	c.shares = nil
	c.dropLocked()
	c.opening, c.tried = make(chan struct{}), len(shares)
	return shares
}

// tryEnded wipes shares that were taken out.
func (c *collection) tryEnded(shares []shamir.Share) {
	shamir.Destroy(shares)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.opening)
	c.opening, c.tried = nil, 0
}

// Restore takes one recovery shard. The one that completes the threshold opens
// the vault. A shard that is not this store's is refused and does not count.
func (m *Manager) Restore(ctx context.Context, caller vault.Caller, req *api.OperatorRestoreRequest) (api.OperatorRestoreResponse, error) {
	defer clear(req.Shard[:])
	r, err := m.vault.Begin(ctx, caller, vault.OpOperatorRestore)
	if err != nil {
		return api.OperatorRestoreResponse{}, err
	}
	// Once a shard is taken, opening is not undone by a caller that goes away.
	res, err := m.restoreShard(context.WithoutCancel(ctx), req)
	if err = r.Done(ctx, err); err != nil {
		return api.OperatorRestoreResponse{}, err
	}
	return res, nil
}

func (m *Manager) restoreShard(ctx context.Context, req *api.OperatorRestoreRequest) (res api.OperatorRestoreResponse, err error) {
	if !m.config.HasRootKey {
		return res, api.ErrNoRootKeyBackend
	}
	h := m.vault.Header()
	if h == nil {
		return res, api.ErrUninitialized
	}
	shares, res, err := m.collect(h, req)
	if shares == nil {
		return res, err
	}
	// Status, which says how many are collected, does not wait for a store to load.
	defer m.restore.tryEnded(shares)
	if err := m.unlock(ctx, h, shares); err != nil {
		return res, err
	}
	behind := m.vault.State() == api.StateBehind
	return api.OperatorRestoreResponse{Collected: h.Threshold, Restored: true, Behind: behind}, nil
}

// collect takes one shard. It returns the shares once there are enough, and else
// what to answer.
func (m *Manager) collect(h *vault.Header, req *api.OperatorRestoreRequest) (complete []shamir.Share, res api.OperatorRestoreResponse, err error) {
	c := &m.restore
	c.lockBetween()
	defer c.mu.Unlock()
	switch state := m.vault.State(); state {
	case api.StateOpen, api.StateBehind:
		c.dropLocked()
		return nil, api.OperatorRestoreResponse{Restored: true, Behind: state == api.StateBehind}, nil
	case api.StateFailed:
		return nil, res, api.ErrNotReady
	}
	if err := checkShard(h, req); err != nil {
		if !c.tryLocked(time.Now()) {
			return nil, res, fmt.Errorf("%w: %d in a minute", api.ErrTooManyAttempts, restoreTries)
		}
		m.log.Warn("a recovery shard was refused", "index", req.ID, "error", err)
		return nil, res, err
	}
	if c.hasLocked(req.ID) {
		if req.Strict {
			return nil, res, api.ErrShardDuplicate
		}
		return nil, c.progressLocked(h), nil
	}
	if err := c.addLocked(req); err != nil {
		return nil, res, err
	}
	m.log.Info("took a recovery shard", "index", req.ID, "collected", len(c.shares), "needed", h.Threshold)
	failpoint.Hit("restore.collected")
	if len(c.shares) < h.Threshold {
		return nil, c.progressLocked(h), nil
	}
	return c.takeLocked(), res, nil
}

// checkShard says why a shard cannot belong to this store.
func checkShard(h *vault.Header, req *api.OperatorRestoreRequest) error {
	switch {
	case h.Fits(keeper.SetPaper, req.ID, &req.Shard):
		return nil
	case req.Cluster != "" && req.Cluster != h.Cluster.String():
		return api.ErrShardForeign
	case req.KeyID != "" && req.KeyID != h.KeyID.String():
		return api.ErrShardStale
	}
	return api.ErrShardCorrupt
}

func (c *collection) addLocked(req *api.OperatorRestoreRequest) error {
	value, err := secret.NewKey(req.Shard[:])
	if err != nil {
		return fmt.Errorf("keep a shard: %w", err)
	}
	c.shares = append(c.shares, shamir.Share{Index: req.ID, Value: value})
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.added++
	last := c.added
	c.expiry = time.AfterFunc(restoreLife, func() { c.expire(last) })
	return nil
}

// expire drops what was collected unless another share came after the one that was
// added as number last: a timer that has fired may wait for the lock meanwhile.
func (c *collection) expire(last int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.added == last {
		c.dropLocked()
	}
}

func (c *collection) progressLocked(h *vault.Header) api.OperatorRestoreResponse {
	return api.OperatorRestoreResponse{Collected: len(c.shares), Remaining: h.Threshold - len(c.shares)}
}
