package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
)

// drills lists them in the order of the runbook.
func drills() []drill {
	return []drill{
		{"Nexus killed", nexusKilled},
		{"Nexus killed, and as many Keepers as may be", nexusAndKeepersKilled},
		{"Keepers restarted one after the other", keepersOneByOne},
		{"all Keepers restarted at once", keepersAtOnce},
		{"a Keeper replaced", keeperReplaced},
		{"everything lost but the data", everythingStopped},
		{"everything lost but backup and paper", everythingLost},
		{"an old database put back", oldDatabase},
		{"a core file forced", coreForced},
	}
}

// nexusKilled: it opens by itself.
func nexusKilled(ctx context.Context, f *field) (time.Duration, error) {
	n := f.cluster().Nexus()
	if err := n.Kill(); err != nil {
		return 0, err
	}
	return f.clock(ctx, func() error { return n.Start() })
}

// nexusAndKeepersKilled: so it does with no more Keepers than the threshold.
func nexusAndKeepersKilled(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	if err := errors.Join(c.Nexus().Kill(), c.Keeper(2).Kill(), c.Nexus().Start()); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := c.WaitOpen(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := f.compare(ctx); err != nil {
		return took, err
	}
	if err := c.Keeper(2).Start(); err != nil {
		return took, err
	}
	_, err := c.WaitHealthy(ctx)
	return took, err
}

func keepersOneByOne(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	return f.refilled(ctx, func() error {
		for _, k := range c.Keepers() {
			if err := errors.Join(k.Kill(), k.Start()); err != nil {
				return err
			}
			if _, err := c.WaitHealthy(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func keepersAtOnce(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	return f.refilled(ctx, func() error {
		var errs []error
		for _, k := range c.Keepers() {
			errs = append(errs, k.Kill())
		}
		for _, k := range c.Keepers() {
			errs = append(errs, k.Start())
		}
		return errors.Join(errs...)
	})
}

// refilled restarts Keepers while Nexus lives, which fills them; and then Nexus
// itself, which must find there what it needs.
func (f *field) refilled(ctx context.Context, restart func() error) (time.Duration, error) {
	c := f.cluster()
	began := time.Now()
	if err := restart(); err != nil {
		return 0, err
	}
	// It never stopped serving.
	if err := f.compare(ctx); err != nil {
		return 0, err
	}
	if _, err := c.WaitHealthy(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := errors.Join(c.Nexus().Kill(), c.Nexus().Start()); err != nil {
		return took, err
	}
	_, err := c.WaitHealthy(ctx)
	return took, err
}

// everythingStopped: the root key was in memory alone, and people bring it back.
func everythingStopped(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	if err := killAll(c); err != nil {
		return 0, err
	}
	return f.clock(ctx,
		func() error { return c.Up(ctx) },
		func() error { return f.restore(ctx) })
}

// everythingLost: another machine, other Keepers, and nothing but what people
// have kept.
func everythingLost(ctx context.Context, f *field) (time.Duration, error) {
	file := filepath.Join(f.kept, "backup")
	if err := f.spike(ctx, "operator", "backup", "create", file); err != nil {
		return 0, err
	}
	// What is written now is lost: a backup has what was there.
	if err := f.spike(ctx, "secret", "put", "drill/too-late", "k=v"); err != nil {
		return 0, err
	}
	lost := f.cluster()
	if err := killAll(lost); err != nil {
		return 0, err
	}
	if err := f.remove(lost.DataDir()); err != nil {
		return 0, err
	}
	began := time.Now()
	c, err := f.another(ctx)
	if err != nil {
		return 0, err
	}
	if err := f.spike(ctx, "operator", "backup", "verify", file); err != nil {
		return 0, err
	}
	if err := f.spike(ctx, "operator", "backup", "load", file); err != nil {
		return 0, err
	}
	if err := f.restore(ctx); err != nil {
		return 0, err
	}
	if _, err := c.WaitOpen(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := f.compare(ctx); err != nil {
		return took, err
	}
	// The Keepers are others, too. Assigned, they have what the next start needs.
	command := []string{"operator", "keeper", "replace"}
	for i := range c.Keepers() {
		command = append(command, fmt.Sprint(i+1), c.KeeperURL(i+1).String())
	}
	if err := f.spike(ctx, command...); err != nil {
		return took, err
	}
	if _, err := c.WaitHealthy(ctx); err != nil {
		return took, err
	}
	if err := errors.Join(c.Nexus().Kill(), c.Nexus().Start()); err != nil {
		return took, err
	}
	_, err = c.WaitHealthy(ctx)
	return took, err
}

// keeperReplaced: one is gone for good, and another at another place has its share.
// Then one that still runs is replaced, and keeps nothing of what it had.
func keeperReplaced(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	if err := c.Keeper(3).Kill(); err != nil {
		return 0, err
	}
	began := time.Now()
	fourth, err := f.replace(ctx, 3)
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	fifth, err := f.replace(ctx, 2)
	if err != nil {
		return took, err
	}
	held, err := c.Held(ctx, 2)
	if err != nil {
		return took, err
	}
	if held.Active != nil || held.Pending != nil {
		held.Wipe()
		return took, errors.New("a Keeper that was replaced while it ran has kept its share")
	}
	if err := c.Keeper(2).Stop(); err != nil {
		return took, err
	}
	// As before, it would be told that it has another list than the cluster.
	if err := errors.Join(c.Nexus().Kill(), c.Nexus().Start()); err != nil {
		return took, err
	}
	exit, err := c.Nexus().Ended(ctx)
	if err != nil {
		return took, fmt.Errorf("with another list of Keepers: %w", err)
	}
	if exit == nil {
		return took, errors.New("a start with another list of Keepers is taken for a success")
	}
	peers := []string{c.KeeperURL(1).String(), c.KeeperURL(fifth).String(), c.KeeperURL(fourth).String()}
	if err := c.Nexus().Start("SPIKE_NEXUS_KEEPER_PEERS=" + strings.Join(peers, ",")); err != nil {
		return took, err
	}
	_, err = c.WaitHealthy(ctx)
	return took, err
}

// replace starts another Keeper and puts it in the place of one.
func (f *field) replace(ctx context.Context, index int) (int, error) {
	c := f.cluster()
	number, err := c.AddKeeper()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := c.Keeper(number).Start(); err != nil {
		return 0, err
	}
	for {
		r, err := f.run(ctx, "operator", "keeper", "replace", fmt.Sprint(index), c.KeeperURL(number).String())
		if err != nil {
			return 0, err
		}
		if r.Code == 0 {
			break
		}
		const notReady = 5 // it has not started yet
		if r.Code != notReady || time.Since(began) > time.Minute {
			return 0, fmt.Errorf("spike operator keeper replace: exit code %d:\n%s", r.Code, r.Stderr)
		}
	}
	_, err = c.WaitHealthy(ctx)
	return number, err
}

// oldDatabase: an earlier copy is noticed and not served, until somebody accepts
// what is lost.
func oldDatabase(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	if err := c.Nexus().Stop(); err != nil {
		return 0, err
	}
	older := filepath.Join(f.kept, "data")
	if err := os.CopyFS(older, os.DirFS(c.DataDir())); err != nil {
		return 0, err
	}
	if err := c.Nexus().Start(); err != nil {
		return 0, err
	}
	if _, err := c.WaitOpen(ctx); err != nil {
		return 0, err
	}
	if err := f.spike(ctx, "secret", "put", "drill/newer", "k=v"); err != nil {
		return 0, err
	}
	// On its way out it tells the Keepers where it was.
	if err := c.Nexus().Stop(); err != nil {
		return 0, err
	}
	if err := f.remove(c.DataDir()); err != nil {
		return 0, err
	}
	if err := putBack(older, c.DataDir()); err != nil {
		return 0, err
	}
	if err := c.Nexus().Start(); err != nil {
		return 0, err
	}
	began := time.Now()
	status, err := c.WaitFor(ctx, "Nexus to notice", func(s *clustertest.Status) bool { return s.State == api.StateBehind })
	if err != nil {
		return 0, err
	}
	const notReady = 5
	if err := f.spikeExits(ctx, notReady, "secret", "list"); err != nil {
		return 0, fmt.Errorf("a store that was put back is served: %w", err)
	}
	if err := f.spike(ctx, "operator", "accept", "--sequence", fmt.Sprint(status.Behind.Sequence), "--yes"); err != nil {
		return 0, err
	}
	if _, err := c.WaitHealthy(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	// It is over: the next start finds nothing to complain of.
	if err := errors.Join(c.Nexus().Stop(), c.Nexus().Start()); err != nil {
		return took, err
	}
	_, err = c.WaitHealthy(ctx)
	return took, err
}

func putBack(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	// CopyFS makes folders by the umask, and Nexus wants this one for itself.
	if err := os.Chmod(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(to)
	for _, e := range entries {
		err = errors.Join(err, os.Chmod(filepath.Join(to, e.Name()), 0o600))
	}
	return err
}

func killAll(c *clustertest.Cluster) error {
	errs := []error{c.Nexus().Kill()}
	for _, k := range c.Keepers() {
		errs = append(errs, k.Kill())
	}
	return errors.Join(append(errs, c.Identity().Kill())...)
}
