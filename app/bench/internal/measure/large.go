package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/spike/app/bench/internal/load"
	"github.com/spiffe/spike/app/bench/internal/rig"
	"github.com/spiffe/spike/internal/clustertest"
)

// large measures what depends on the size of the store.
func (b *bench) large(ctx context.Context) (err error) {
	little, err := b.start(ctx, 1, small)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, little.Close()) }()
	large, err := b.start(ctx, 1, b.Size.Large)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, large.Close()) }()
	lists := large.Lists()
	for round := range b.Size.Starts {
		b.Say("start %d of %d", round+1, b.Size.Starts)
		took, err := b.restart(ctx, little)
		if err != nil {
			return err
		}
		b.note("start-small", Sample{Value: 1000 * took.Seconds()})
		if took, err = b.restart(ctx, large); err != nil {
			return err
		}
		b.note("start-large", Sample{Value: 1000 * took.Seconds()})
		if err := b.lists(ctx, large, lists); err != nil {
			return err
		}
		if err := b.memory(large); err != nil {
			return err
		}
	}
	return nil
}

// restart ends Nexus, and returns how long it takes from the start of the next one
// to its first answer.
func (b *bench) restart(ctx context.Context, r *rig.Rig) (time.Duration, error) {
	if err := r.Nexus().Stop(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	if err := r.Nexus().Start(); err != nil {
		return 0, err
	}
	if err := load.First(ctx, r.Address(), b.ground.Identities[0], r.Reads[0]); err != nil {
		return 0, fmt.Errorf("after a restart: %w", err)
	}
	took := time.Since(began)
	// Only a Nexus that has found all is well is left alone.
	_, err := r.WaitHealthy(ctx)
	return took, err
}

// lists compares a page of a hundred keys with a read.
func (b *bench) lists(ctx context.Context, r *rig.Rig, lists []*load.Request) error {
	read, err := b.atNexus(ctx, r, load.Plan{Connections: 1, Pick: anyOf(r.Reads)})
	if err != nil {
		return err
	}
	list, err := b.atNexus(ctx, r, load.Plan{Connections: 1, Pick: anyOf(lists)})
	if err != nil {
		return err
	}
	b.note("list", Sample{
		Value: micros(list.Quantile(load.List, 0.5)), Base: micros(read.Quantile(load.Read, 0.5)),
		CPU: list.cpu, BaseCPU: read.cpu,
	})
	// What is resident is to be so after some work, and not before all.
	_, err = b.atNexus(ctx, r, load.Plan{Connections: 16, Pick: anyOf(r.Reads)})
	return err
}

// memory is what the kernel says is resident.
func (b *bench) memory(r *rig.Rig) error {
	megabytes := func(p *clustertest.Process) (float64, error) {
		n, err := p.Resident()
		return float64(n) / 1e6, err
	}
	nexus, err := megabytes(r.Nexus())
	if err != nil {
		return err
	}
	b.note("memory", Sample{Value: nexus})
	most := 0.0
	for _, k := range r.Keepers() {
		keeper, err := megabytes(k)
		if err != nil {
			return err
		}
		most = max(most, keeper)
	}
	b.note("memory-keeper", Sample{Value: most})
	return nil
}
