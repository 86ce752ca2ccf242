// Package rig sets up what is measured: a cluster of the real programs on a real
// disk, with secrets, policies and workloads, and the ceiling's server beside it.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spiffe/spike/app/bench/internal/load"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

// Options say what cluster is wanted.
type Options struct {
	Programs string // the folder of nexus, keeper, spike and identity
	Ground   *Ground
	// Policies is how many there are: 1 names all workloads, and of more, each names
	// one.
	Policies int
	Secrets  int
}

// Rig is a running cluster that has been filled.
type Rig struct {
	*clustertest.Cluster
	Reads  []*load.Request
	Writes []*load.Request

	secrets int
	ground  *Ground
	ceiling *clustertest.Process
}

// New starts a cluster and fills it. The caller closes it.
func New(ctx context.Context, o Options) (r *Rig, err error) {
	c, err := clustertest.New(clustertest.Options{
		Programs: o.Programs, Parent: o.Ground.Folder, Socket: o.Ground.socket,
	})
	if err != nil {
		return nil, err
	}
	r = &Rig{Cluster: c, ground: o.Ground}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("set up a cluster: %w\n%s", err, c.Logs(10)), c.Close())
			r = nil
		}
	}()
	if err := c.Up(ctx); err != nil {
		return r, err
	}
	superuser, err := c.Client(ctx, role.Superuser)
	if err != nil {
		return r, err
	}
	if _, err := superuser.OperatorInit(ctx); err != nil {
		return r, err
	}
	if _, err := c.WaitHealthy(ctx); err != nil {
		return r, err
	}
	if err := putPolicies(ctx, superuser, o.Policies); err != nil {
		return r, err
	}
	return r, r.putSecrets(ctx, o.Secrets)
}

// Address is where Nexus answers.
func (r *Rig) Address() string { return r.URL().Host }

// Ceiling starts the ceiling's server, unless it runs, and returns its address.
func (r *Rig) Ceiling(ctx context.Context) (string, error) {
	if r.ceiling == nil {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		r.ceiling = r.Other("ceiling", self, "ceiling")
		if err := r.ceiling.Start(); err != nil {
			return "", err
		}
	}
	for {
		// It prints its address as soon as it listens.
		if address, ok := strings.CutSuffix(r.ceiling.Output(), "\n"); ok {
			return address, nil
		}
		if !r.ceiling.Running() {
			return "", fmt.Errorf("the ceiling's server has ended:\n%s", r.ceiling.Log())
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// CeilingProcess is nil until Ceiling was called.
func (r *Rig) CeilingProcess() *clustertest.Process { return r.ceiling }

// putSecrets writes n secrets as a workload, and leaves requests for the first
// thousand of them: what is asked for is the same, whatever else there is.
func (r *Rig) putSecrets(ctx context.Context, n int) error {
	all := make([]*load.Request, n)
	for i := range all {
		all[i] = putRequest(i)
	}
	if err := load.Each(ctx, r.Address(), r.ground.Identities[0], 64, all); err != nil {
		return fmt.Errorf("write %d secrets: %w", n, err)
	}
	for i := range min(n, paths) {
		r.Reads = append(r.Reads, getRequest(i))
	}
	r.Writes = all[:len(r.Reads)]
	r.secrets = n
	return nil
}

// Lists returns requests for pages of a hundred keys each, and wants exactly those.
func (r *Rig) Lists() []*load.Request {
	var list []*load.Request
	for application := range applications {
		list = append(list, listRequest(application, r.secrets))
	}
	return list
}
