// Package rootkey gets the root key back after a restart, from Keepers or from
// people, and keeps the Keepers filled while the vault is open.
package rootkey

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/keeper"
)

// Config configures a [Manager].
type Config struct {
	Vault *vault.Vault
	// Keepers are those that Nexus is configured with. It speaks to no others, but
	// for those that a superuser names; NewKeeper makes clients of these.
	Keepers   []*keeper.Client
	NewKeeper func(*url.URL) *keeper.Client
	// Backend is the store's name, for status. HasRootKey is false for a backend
	// whose key is thrown away with the process.
	Backend    string
	HasRootKey bool
	// Threshold and Shards are for a new cluster: how many shares make the root
	// key, and how many recovery shards there are.
	Threshold, Shards int
	// UpdateInterval is how often a Keeper that is well is looked at.
	UpdateInterval time.Duration
	// SearchInterval is the longest pause between two rounds of asking Keepers.
	SearchInterval time.Duration
	Version        string // of the program, for status
	Log            *slog.Logger
}

// Manager does what operators ask for, and the work of recovery in the
// background. Its methods are safe for concurrent use.
type Manager struct {
	config  Config
	vault   *vault.Vault
	log     *slog.Logger
	started time.Time
	initing chan struct{} // holds a token while nobody initializes or loads
	loaded  chan struct{} // closed once a backup was loaded
	moved   chan struct{} // holds a token when Keepers were replaced
	ended   chan struct{} // closed when Run has ended
	// replacing holds a token while nobody replaces Keepers, or erases one that
	// was replaced.
	replacing chan struct{}

	restore collection

	mu      sync.Mutex
	keepers []*keeper.Client         // the configured ones, and those named since
	kicks   map[string]chan struct{} // by Keeper's host:port
	seen    map[string]sighting      // by Keeper's URL: as it was last seen
	told    map[string]keeper.Anchor // by Keeper's URL: the anchor that it was last seen to hold
	retired []*retired               // Keepers that were replaced and are to be erased
	// mismatch: enough shares that fit the header did not make the store's root key.
	mismatch bool
}

// New returns a manager that does nothing in the background until Run.
func New(c Config) *Manager {
	m := &Manager{
		config: c, vault: c.Vault, log: c.Log, started: time.Now(),
		kicks: map[string]chan struct{}{}, initing: make(chan struct{}, 1), seen: map[string]sighting{},
		told: map[string]keeper.Anchor{}, loaded: make(chan struct{}), moved: make(chan struct{}, 1),
		ended: make(chan struct{}), replacing: make(chan struct{}, 1),
	}
	m.initing <- struct{}{}
	m.replacing <- struct{}{}
	for _, k := range c.Keepers {
		m.add(k)
	}
	return m
}

// add makes a Keeper one of those that the manager speaks to.
func (m *Manager) add(k *keeper.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.keepers, func(other *keeper.Client) bool { return other.URL().String() == k.URL().String() }) {
		return
	}
	m.keepers = append(m.keepers, k)
	if at := address(k); m.kicks[at] == nil {
		m.kicks[at] = make(chan struct{}, 1)
	}
}

func (m *Manager) kickOf(address string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kicks[address]
}

// address is where a Keeper is dialed: host:port.
func address(k *keeper.Client) string {
	port := k.URL().Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(k.URL().Hostname(), port)
}

// Ended tells the manager that a connection to the Keeper at address (host:port)
// has ended: it looks at that Keeper soon. It never blocks.
func (m *Manager) Ended(address string) {
	select {
	case m.kickOf(address) <- struct{}{}:
	default: // a kick is waiting already, or nobody by that address is ours
	}
}

// Run recovers the root key when the vault is locked, and tends the Keepers once
// it is open. It returns when ctx ends.
func (m *Manager) Run(ctx context.Context) {
	defer close(m.ended)
	defer m.restore.drop()
	if m.vault.Header() == nil {
		select {
		case <-ctx.Done():
			return
		case <-m.vault.Opened():
		case <-m.loaded:
		}
	}
	m.search(ctx)
	select {
	case <-ctx.Done():
		return
	case <-m.vault.Opened():
	}
	m.restore.drop()
	for ctx.Err() == nil {
		m.tendAll(ctx)
	}
}

// tendAll tends the Keepers until ctx ends or some of them are replaced, and
// dismisses those that were.
func (m *Manager) tendAll(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i, k := range m.slots() {
		if k != nil {
			wg.Go(func() { m.tend(ctx, i+1, k) })
			wg.Go(func() { m.tell(ctx, k) })
		}
	}
	for _, r := range m.retiring() {
		wg.Go(func() { m.dismiss(ctx, r) })
	}
	select {
	case <-ctx.Done():
	case <-m.moved:
	}
	cancel()
	wg.Wait()
}

// slots returns the Keepers in the order of the header, which says whose share
// is whose, whatever the order in the configuration. One that is not configured
// is nil.
func (m *Manager) slots() []*keeper.Client {
	h := m.vault.Header()
	if h == nil {
		return m.config.Keepers
	}
	list := make([]*keeper.Client, len(h.Keepers))
	for i, slot := range h.Keepers {
		list[i] = m.at(slot.URL)
	}
	return list
}

// at returns the Keeper at a URL, or nil when it is none of ours.
func (m *Manager) at(url string) *keeper.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.IndexFunc(m.keepers, func(k *keeper.Client) bool { return k.URL().String() == url })
	if at < 0 {
		return nil
	}
	return m.keepers[at]
}

// unassigned returns the configured Keepers that no share belongs to.
func (m *Manager) unassigned() (list []*keeper.Client) {
	h := m.vault.Header()
	if h == nil {
		return nil
	}
	urls := h.URLs()
	for _, k := range m.config.Keepers {
		if !slices.Contains(urls, k.URL().String()) {
			list = append(list, k)
		}
	}
	return list
}
