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
)

// stackDrills lists those of a cluster in containers.
func stackDrills() []stackDrill {
	return []stackDrill{
		{"Nexus stopped and started", nexusRestarted},
		{"a Keeper replaced by a fresh container", keeperFresh},
		{"Nexus cut off from its Keepers, and joined again", nexusCutOff},
		{"two of three Keepers gone while Nexus restarts", keepersGone},
		{"the whole cluster down and up", downAndUp},
		{"the volume lost, restored from backup and paper", volumeLost},
	}
}

// nexusRestarted: it opens by itself.
func nexusRestarted(ctx context.Context, s *stack) (time.Duration, error) {
	if err := s.engine(ctx, "stop", "nexus"); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.engine(ctx, "start", "nexus"); err != nil {
		return 0, err
	}
	err := s.open(ctx)
	return time.Since(began), err
}

// keeperFresh: a container that was never there before is filled, and what it was
// filled with is good for a restart that depends on it.
func keeperFresh(ctx context.Context, s *stack) (time.Duration, error) {
	old, err := s.Container(ctx, "keeper-2")
	if err != nil {
		return 0, err
	}
	if err := s.look(ctx); err != nil {
		return 0, err
	}
	if err := s.engine(ctx, "rm -f", "keeper-2"); err != nil {
		return 0, err
	}
	// It never stopped serving.
	if err := s.open(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.up(ctx); err != nil {
		return 0, err
	}
	if err := s.full(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	fresh, err := s.Container(ctx, "keeper-2")
	if err != nil {
		return took, err
	}
	if fresh == old {
		return took, errors.New("the container is the one that was there before")
	}
	if err := s.engine(ctx, "kill", "keeper-1"); err != nil {
		return took, err
	}
	if err := s.engine(ctx, "restart", "nexus"); err != nil {
		return took, err
	}
	if err := s.open(ctx); err != nil {
		return took, fmt.Errorf("with the fresh Keeper and one other: %w", err)
	}
	return took, s.engine(ctx, "start", "keeper-1")
}

// nexusCutOff: an open Nexus goes on; one that was restarted meanwhile waits, and
// opens by itself when it reaches the Keepers again.
func nexusCutOff(ctx context.Context, s *stack) (time.Duration, error) {
	if err := s.control(ctx, "disconnect"); err != nil {
		return 0, err
	}
	if err := s.open(ctx); err != nil {
		return 0, fmt.Errorf("cut off: %w", err)
	}
	if err := s.engine(ctx, "restart", "nexus"); err != nil {
		return 0, err
	}
	if err := s.locked(ctx); err != nil {
		return 0, fmt.Errorf("restarted while cut off: %w", err)
	}
	began := time.Now()
	if err := s.control(ctx, "connect"); err != nil {
		return 0, err
	}
	err := s.open(ctx)
	return time.Since(began), err
}

// keepersGone: one share is too few. The Keepers come back empty, and recovery shards
// bring the root key.
func keepersGone(ctx context.Context, s *stack) (time.Duration, error) {
	if err := s.engine(ctx, "kill", "keeper-1", "keeper-3"); err != nil {
		return 0, err
	}
	if err := s.engine(ctx, "restart", "nexus"); err != nil {
		return 0, err
	}
	if err := s.locked(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.up(ctx); err != nil {
		return 0, err
	}
	err := s.open(ctx)
	return time.Since(began), err
}

// downAndUp: the containers are others, the data is the same.
func downAndUp(ctx context.Context, s *stack) (time.Duration, error) {
	if err := s.look(ctx); err != nil {
		return 0, err
	}
	if _, err := s.Script(ctx, nil, "down"); err != nil {
		return 0, err
	}
	running, err := s.Docker(ctx, "ps", "-aq", "--filter", "label=com.docker.compose.project="+s.Project())
	if err != nil {
		return 0, err
	}
	if running != "" {
		return 0, fmt.Errorf("down left the containers %q", running)
	}
	began := time.Now()
	if err := s.up(ctx); err != nil {
		return 0, err
	}
	err = s.open(ctx)
	return time.Since(began), err
}

// volumeLost: with the data, the recovery shards of the volume beside it are gone, too.
// There is what people have kept: a backup, and their shards.
func volumeLost(ctx context.Context, s *stack) (time.Duration, error) {
	file := filepath.Join(s.kept, "backup")
	if _, err := s.Script(ctx, nil, "backup", file); err != nil {
		return 0, err
	}
	// What is written now is lost: a backup has what was there.
	if _, err := s.Script(ctx, strings.NewReader("v"), "spike", "secret", "put", "drill/too-late", "k=-"); err != nil {
		return 0, err
	}
	if err := s.look(ctx); err != nil {
		return 0, err
	}
	if _, err := s.Script(ctx, nil, "down"); err != nil {
		return 0, err
	}
	for _, volume := range []string{"data", "recovery", "backup"} {
		if _, err := s.Docker(ctx, "volume", "rm", s.Name(volume)); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	if err := s.up(ctx, "--no-init"); err != nil {
		return 0, err
	}
	if _, err := s.ask(ctx, "--state", api.StateUninitialized); err != nil {
		return 0, err
	}
	if _, err := s.Script(ctx, nil, "load", file); err != nil {
		return 0, err
	}
	if err := s.locked(ctx); err != nil {
		return 0, err
	}
	for _, index := range []string{"3", "1"} {
		if err := s.restore(ctx, filepath.Join(s.paper(), "shard-"+index+".txt")); err != nil {
			return 0, err
		}
	}
	err := s.open(ctx)
	return time.Since(began), err
}

// restore feeds one recovery shard in, as its holder would.
func (s *stack) restore(ctx context.Context, file string) error {
	shard, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = s.Script(ctx, shard, "spike", "operator", "restore")
	return errors.Join(err, shard.Close())
}
