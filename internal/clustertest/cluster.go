// Package clustertest runs whole SPIKE clusters out of the real programs, each a
// process of its own, for end-to-end tests, drills and measurements. A cluster
// has a temporary folder, its own identity provider, and free ports of the
// loopback interface, so that many can run beside each other. It ends with the
// process that started it, however that ends.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/role"
)

// TrustDomain is the one of every cluster.
const TrustDomain = "spike.ist"

// Options say what cluster is wanted. The zero value of each but Programs has a
// default.
type Options struct {
	// Programs is the folder that has nexus, keeper, spike and identity; see Build.
	Programs string
	// Parent is where the cluster's folder is made (the system's temporary folder):
	// another disk, where speed matters.
	Parent string
	// Keepers is how many there are (3), and Threshold how many shares make the
	// root key (2).
	Keepers, Threshold int
	// Backend is Nexus's store (sqlite).
	Backend string
	// TTL is how long SVIDs live (1h).
	TTL time.Duration
	// Entries are further lines of the entries file.
	Entries string
	// Nexus has environment variables for Nexus, in addition.
	Nexus []string
	// Socket gives the address of a Workload API for each role, for identities that
	// no entries file can give. The cluster then has no provider of its own.
	Socket func(role.Role) string
}

// Cluster is a running cluster. What is not said to return at once waits for what
// it does.
type Cluster struct {
	dir     string
	options Options
	td      spiffeid.TrustDomain
	ports   []*port // Nexus's, then the Keepers'

	identity *Process
	nexus    *Process
	keepers  []*Process
	others   []*Process

	clients clients
}

// New prepares a cluster in a new temporary folder and starts nothing. The caller
// closes it.
func New(o Options) (c *Cluster, err error) {
	if o.Keepers == 0 {
		o.Keepers = 3
	}
	if o.Threshold == 0 {
		o.Threshold = min(2, o.Keepers)
	}
	if o.Backend == "" {
		o.Backend = "sqlite"
	}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	c = &Cluster{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.td, err = spiffeid.TrustDomainFromString(TrustDomain); err != nil {
		return c, err
	}
	// Not t.TempDir: with a test's name in it, it could be too long for a socket.
	if c.dir, err = os.MkdirTemp(o.Parent, "spike-"); err != nil {
		return c, err
	}
	for _, name := range []string{"run", "data", "log", "home", "tmp"} {
		if err := os.Mkdir(filepath.Join(c.dir, name), 0o700); err != nil {
			return c, err
		}
	}
	if c.ports, err = takePorts(1 + o.Keepers); err != nil {
		return c, err
	}
	if err := c.writeEntries(); err != nil {
		return c, err
	}
	c.describe()
	return c, nil
}

// describe sets up the processes.
func (c *Cluster) describe() {
	level := "SPIKE_SYSTEM_LOG_LEVEL=INFO"
	if c.options.Socket == nil {
		c.identity = c.process("identity", c.program("identity"), []string{level},
			"run", "--entries", c.entriesFile(), "--socket", c.socketFile())
	}
	var peers []string
	for i, p := range c.ports[1:] {
		peers = append(peers, p.url())
		c.keepers = append(c.keepers, c.process(fmt.Sprintf("keeper-%d", i+1), c.program("keeper"),
			c.env(role.Keeper, level, "SPIKE_KEEPER_TLS_PORT="+p.address())))
	}
	env := c.env(role.Nexus, level,
		"SPIKE_NEXUS_TLS_PORT="+c.ports[0].address(),
		"SPIKE_NEXUS_DATA_DIR="+c.DataDir(),
		"SPIKE_NEXUS_BACKEND_STORE="+c.options.Backend,
		"SPIKE_NEXUS_KEEPER_PEERS="+strings.Join(peers, ","),
		fmt.Sprintf("SPIKE_NEXUS_SHAMIR_SHARES=%d", c.options.Keepers),
		fmt.Sprintf("SPIKE_NEXUS_SHAMIR_THRESHOLD=%d", c.options.Threshold),
	)
	c.nexus = c.process("nexus", c.program("nexus"), append(env, c.options.Nexus...))
}

func (c *Cluster) process(name, program string, env []string, args ...string) *Process {
	return &Process{
		name: name, path: program, args: args, env: env,
		log: filepath.Join(c.dir, "log", name+".log"),
	}
}

func (c *Cluster) program(name string) string { return filepath.Join(c.options.Programs, name) }

// env is the environment of every program of this cluster: nothing of our own
// gets into it.
func (c *Cluster) env(of role.Role, more ...string) []string {
	return append([]string{
		"HOME=" + filepath.Join(c.dir, "home"),
		"TMPDIR=" + filepath.Join(c.dir, "tmp"),
		"PATH=/usr/bin:/bin",
		"SPIFFE_ENDPOINT_SOCKET=" + c.socketOf(of),
		"SPIKE_TRUST_ROOT=" + TrustDomain,
	}, more...)
}

// writeEntries gives our own executable every identity too, so that it can be a
// client of any role, and ask a Keeper as Nexus does.
func (c *Cluster) writeEntries() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "trust_domain: %s\nttl: %s\nentries:\n", TrustDomain, c.options.TTL)
	for _, e := range []struct{ id, path string }{
		{"/spike/nexus", c.program("nexus")},
		{"/spike/keeper", c.program("keeper")},
		{"/spike/pilot/role/superuser", c.program("spike")},
		{"/spike/pilot/role/recover", c.program("spike")},
		{"/spike/pilot/role/restore", c.program("spike")},
		{"/spike/pilot/role/superuser/test", self},
		{"/spike/pilot/role/recover/test", self},
		{"/spike/pilot/role/restore/test", self},
		{"/spike/nexus/test", self},
	} {
		fmt.Fprintf(&out, "  - id: %s\n    path: %q\n", e.id, e.path)
	}
	out.WriteString(c.options.Entries)
	return os.WriteFile(c.entriesFile(), []byte(out.String()), 0o600)
}

func (c *Cluster) entriesFile() string { return filepath.Join(c.dir, "entries.yaml") }
func (c *Cluster) socketFile() string  { return filepath.Join(c.dir, "run", "identity.sock") }

// Dir is the cluster's folder; it is removed with the cluster.
func (c *Cluster) Dir() string { return c.dir }

// DataDir is Nexus's data folder.
func (c *Cluster) DataDir() string { return filepath.Join(c.dir, "data") }

// Socket is the Workload API's address.
func (c *Cluster) Socket() string { return "unix://" + c.socketFile() }

func (c *Cluster) socketOf(r role.Role) string {
	if c.options.Socket != nil {
		return c.options.Socket(r)
	}
	return c.Socket()
}

// URL is Nexus's.
func (c *Cluster) URL() *url.URL { return &url.URL{Scheme: "https", Host: c.ports[0].address()} }

// KeeperURL is that of Keeper i, from 1.
func (c *Cluster) KeeperURL(i int) *url.URL {
	return &url.URL{Scheme: "https", Host: c.ports[i].address()}
}

// Nexus returns the process.
func (c *Cluster) Nexus() *Process { return c.nexus }

// Identity returns the identity provider's process; nil where Options.Socket is
// given.
func (c *Cluster) Identity() *Process { return c.identity }

// Keeper returns Keeper i's process, counted from 1 as its share is.
func (c *Cluster) Keeper(i int) *Process { return c.keepers[i-1] }

// Keepers returns all Keepers' processes.
func (c *Cluster) Keepers() []*Process { return c.keepers }

// Other describes a further program that is to run beside the cluster and ends
// with it. It has the cluster's environment, and starts when it is told to.
func (c *Cluster) Other(name, program string, args ...string) *Process {
	p := c.process(name, program, c.env(role.None), args...)
	c.others = append(c.others, p)
	return p
}

// all lists the processes in the order in which they end: first those that need
// the others.
func (c *Cluster) all() []*Process {
	var list []*Process
	for _, p := range slices.Concat(c.others, []*Process{c.nexus}, c.keepers, []*Process{c.identity}) {
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// Up starts what does not run, and waits until Nexus answers and reaches every
// Keeper.
func (c *Cluster) Up(ctx context.Context) error {
	if err := c.identify(ctx); err != nil {
		return err
	}
	for _, p := range append([]*Process{c.nexus}, c.keepers...) {
		if p.Running() {
			continue
		}
		if err := p.Start(); err != nil {
			return err
		}
	}
	_, err := c.WaitFor(ctx, "every Keeper to be reached", func(s *Status) bool {
		for _, k := range s.Keepers {
			if !k.Reachable {
				return false
			}
		}
		return true
	})
	return err
}

// identify has identities ready, which all else needs.
func (c *Cluster) identify(ctx context.Context) error {
	if c.identity == nil {
		return nil
	}
	if !c.identity.Running() {
		if err := c.identity.Start(); err != nil {
			return err
		}
	}
	return c.poll(ctx, "the identity provider's answer", c.identityAnswers)
}

// Down stops everything in good order.
func (c *Cluster) Down() error {
	var errs []error
	for _, p := range c.all() {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// Close kills what runs and removes the folder.
func (c *Cluster) Close() error {
	errs := []error{c.clients.close()}
	for _, p := range c.all() {
		errs = append(errs, p.Kill())
	}
	errs = append(errs, releaseAll(c.ports))
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// Logs returns the last n lines of each process's log.
func (c *Cluster) Logs(n int) string {
	var out strings.Builder
	for _, p := range c.all() {
		fmt.Fprintf(&out, "--- %s\n%s", p.name, tail(p.Log(), n))
	}
	return out.String()
}

// Start prepares a cluster for a test and brings it up, without initializing it.
// It ends with the test; when the test fails, its logs are told.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := Prepare(t, o)
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// Prepare is Start without starting anything.
func Prepare(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the logs' last lines:\n%s", c.Logs(40))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
