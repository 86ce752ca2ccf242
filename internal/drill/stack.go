package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/composetest"
)

// image has this program in it, and network is where Pilot is.
const (
	image   = "drill"
	network = "access"
)

// stack is the cluster in containers that drills are held on, one after the other: to
// make one takes longer than most drills.
type stack struct {
	*composetest.Stack
	root     string // the checkout
	kept     string // the folder of what people keep
	secrets  int
	before   string // the digest of all secrets
	keys     *stackKeys
	searched int // files that were looked into for keys since the drill began
	said     []said
	// look is search: a drill that removes containers or volumes looks into them before.
	look func(ctx context.Context) error
	// ask runs "drill inside": it waits until Nexus is open, unless told otherwise, and
	// returns the digest.
	ask func(ctx context.Context, args ...string) (string, error)
}

// newStack makes a cluster, fills it, takes the recovery shards out, and notes what is
// in it.
func newStack(ctx context.Context, o options) (s *stack, err error) {
	root, err := clustertest.Root()
	if err != nil {
		return nil, err
	}
	made, err := composetest.New(root, o.project)
	if err != nil {
		return nil, err
	}
	s = &stack{Stack: made, root: root, secrets: o.secrets}
	s.ask, s.look = s.askInside, s.search
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w\n%s", err, s.logs(ctx)), s.close(ctx))
		}
	}()
	if s.kept, err = os.MkdirTemp("", "spike-kept-"); err != nil {
		return s, err
	}
	if _, err := s.Script(ctx, nil, "up"); err != nil {
		return s, err
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	if err := s.Image(ctx, image, self); err != nil {
		return s, err
	}
	if s.before, err = s.ask(ctx, "--full", "--secrets", fmt.Sprint(s.secrets)); err != nil {
		return s, err
	}
	if _, err := s.Script(ctx, nil, "shards", s.paper()); err != nil {
		return s, err
	}
	s.keys, err = s.keysOfStack(ctx)
	return s, err
}

func (s *stack) paper() string { return filepath.Join(s.kept, "paper") }

// close leaves nothing behind, whatever ended the drills.
func (s *stack) close(ctx context.Context) error {
	return errors.Join(s.Close(context.WithoutCancel(ctx)), os.RemoveAll(s.kept))
}

func (s *stack) logs(ctx context.Context) string { return s.Logs(context.WithoutCancel(ctx), 15) }

// askInside is ask in a container, as the superuser.
func (s *stack) askInside(ctx context.Context, args ...string) (string, error) {
	r, err := s.Inside(ctx, image, composetest.Superuser, s.Name(network), nil, append([]string{"inside"}, args...)...)
	s.say(r, "drill inside", args...)
	if err == nil && r.Code != 0 {
		err = errors.New(strings.TrimSpace(r.Stderr))
	}
	return strings.TrimSpace(r.Stdout), err
}

// open waits until Nexus serves, and compares.
func (s *stack) open(ctx context.Context) error { return s.same(ctx) }

// full waits until every Keeper has its share as well, and compares.
func (s *stack) full(ctx context.Context) error { return s.same(ctx, "--full") }

func (s *stack) same(ctx context.Context, args ...string) error {
	after, err := s.ask(ctx, args...)
	if err != nil {
		return err
	}
	if after != s.before {
		return fmt.Errorf("the secrets are others: their number and digest are %s, and were %s", after, s.before)
	}
	return nil
}

// locked waits until Nexus says that it has no root key.
func (s *stack) locked(ctx context.Context) error {
	_, err := s.ask(ctx, "--state", api.StateLocked)
	return err
}

// engine has the engine do something to services' containers.
func (s *stack) engine(ctx context.Context, command string, services ...string) error {
	args := strings.Fields(command)
	for _, service := range services {
		id, err := s.Container(ctx, service)
		if err != nil {
			return err
		}
		args = append(args, id)
	}
	_, err := s.Docker(ctx, args...)
	return err
}

// control joins Nexus to the Keepers' network, or cuts it off.
func (s *stack) control(ctx context.Context, command string) error {
	nexus, err := s.Container(ctx, "nexus")
	if err != nil {
		return err
	}
	_, err = s.Docker(ctx, "network", command, s.Name("control"), nexus)
	return err
}

// up is what people run when something of a cluster is missing.
func (s *stack) up(ctx context.Context, args ...string) error {
	_, err := s.Script(ctx, nil, append([]string{"up", "--no-build"}, args...)...)
	return err
}

// stackDrill is one way to lose something of a cluster in containers.
type stackDrill struct {
	name string
	// lose loses it and brings it back, as a drill's does.
	lose func(ctx context.Context, s *stack) (time.Duration, error)
}

// runStack holds the drills on one cluster.
func runStack(ctx context.Context, o options, list []stackDrill, stdout, stderr io.Writer) (err error) {
	var chosen []stackDrill
	for _, d := range list {
		if strings.Contains(d.name, o.only) {
			chosen = append(chosen, d)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no drill's name contains %q", o.only)
	}
	_, _ = fmt.Fprintf(stderr, "starting the cluster %s …\n", o.project) // a remark
	s, err := newStack(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	var outcomes []outcome
	for _, d := range chosen {
		_, _ = fmt.Fprintf(stderr, "%s …\n", d.name) // a remark
		outcomes = append(outcomes, s.hold(ctx, d))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return report(stdout, outcomes)
}

// hold holds one drill. It begins and ends with a cluster that is well, and has all
// the secrets.
func (s *stack) hold(ctx context.Context, d stackDrill) (out outcome) {
	out.name, s.searched = d.name, 0
	if out.err = s.full(ctx); out.err != nil {
		out.err = fmt.Errorf("before it began: %w", out.err)
		return out
	}
	out.took, out.err = d.lose(ctx, s)
	if out.err == nil {
		out.err = s.full(ctx)
	}
	if out.err == nil {
		out.err = s.look(ctx)
	}
	out.files = s.searched
	if out.err != nil {
		out.err = fmt.Errorf("%w\n%s", out.err, s.logs(ctx))
		return out
	}
	_, out.err = fmt.Sscan(s.before, &out.secrets)
	return out
}
