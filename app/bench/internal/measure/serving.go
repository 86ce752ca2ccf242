package measure

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/bench/internal/load"
	"github.com/spiffe/spike/app/bench/internal/rig"
)

// serving measures what does not depend on the size of the store. In each round,
// the sides of a comparison take turns, so that what else goes on meets both.
func (b *bench) serving(ctx context.Context) (err error) {
	if b.one, err = b.start(ctx, 1, small); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.one.Close()) }()
	if b.wants("policies") {
		if b.many, err = b.start(ctx, b.Size.Workloads, small); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.many.Close()) }()
	}
	if b.wants("writes", "writer", "mixed") {
		// Not the one that is read: writes would change what it has in memory.
		if b.written, err = b.start(ctx, 1, small); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.written.Close()) }()
	}
	if b.ceiling, err = b.one.Ceiling(ctx); err != nil {
		return err
	}
	for round := range b.Size.Rounds {
		b.Say("round %d of %d", round+1, b.Size.Rounds)
		b.swapped = round%2 == 1
		for _, p := range serving() {
			if !b.wants(p.name) {
				continue
			}
			if err := p.run(b, ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// part is one of the things that a round measures.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

func serving() []part {
	return []part{
		{"reads", (*bench).reads}, {"standard", (*bench).standard}, {"policies", (*bench).policies}, {"writes", (*bench).writes},
		{"writer", (*bench).writer}, {"mixed", (*bench).mixed}, {"handshakes", (*bench).handshakes},
	}
}

func servingParts() (names []string) {
	for _, p := range serving() {
		names = append(names, p.name)
	}
	return names
}

// reads are a workload's under a policy, with the audit line written.
func (b *bench) reads(ctx context.Context) error {
	for _, n := range inFlight {
		if err := b.compare(ctx, fmt.Sprint("reads-", n), load.Plan{Connections: n}); err != nil {
			return err
		}
	}
	return nil
}

// standard is the same with net/http's client.
func (b *bench) standard(ctx context.Context) error {
	for _, n := range inFlight {
		if err := b.compare(ctx, fmt.Sprint("standard-", n), load.Plan{Connections: n, Standard: true}); err != nil {
			return err
		}
	}
	return nil
}

// handshakes are reads of which each has a new connection.
func (b *bench) handshakes(ctx context.Context) error {
	return b.compare(ctx, "handshakes", load.Plan{Connections: 16, Fresh: true})
}

// compare has the ceiling's server and Nexus answer reads.
func (b *bench) compare(ctx context.Context, row string, p load.Plan) error {
	ceiling, nexus, err := b.both(ctx, b.one, p, anyOf(b.ceilingReads), anyOf(b.one.Reads))
	if err != nil {
		return err
	}
	b.note(row, Sample{nexus.Rate(), ceiling.Rate(), nexus.cpu, ceiling.cpu})
	b.noteTimes(row, load.Read, ceiling, nexus)
	return nil
}

// both has the ceiling's server and a Nexus answer.
func (b *bench) both(ctx context.Context, r *rig.Rig, p load.Plan, toCeiling, toNexus picker) (ceiling, nexus figure, err error) {
	err = b.inTurn(
		func() (err error) {
			p := p
			p.Pick = toCeiling
			ceiling, err = b.atCeiling(ctx, p)
			return err
		},
		func() (err error) {
			p := p
			p.Pick = toNexus
			nexus, err = b.atNexus(ctx, r, p)
			return err
		})
	return ceiling, nexus, err
}

// inTurn does both, and in every other round the second first: what one leaves to
// the next, such as a disk that is still busy, is not always left to the same one.
func (b *bench) inTurn(first, second func() error) error {
	if b.swapped {
		first, second = second, first
	}
	if err := first(); err != nil {
		return err
	}
	return second()
}

// noteTimes notes how long requests took, where there are rows for it.
func (b *bench) noteTimes(row string, kind load.Kind, ceiling, nexus figure) {
	for suffix, at := range map[string]float64{"-p50": 0.5, "-p99": 0.99} {
		if r := b.row(row + suffix); r != nil {
			r.Samples = append(r.Samples, Sample{Value: micros(nexus.Quantile(kind, at)), Base: micros(ceiling.Quantile(kind, at))})
		}
	}
}

// policies compares many policies and as many identities with one of each. Both
// sides have a connection for each identity open: what differs is policies alone.
func (b *bench) policies(ctx context.Context) error {
	for _, n := range inFlight {
		var one, many figure
		p := load.Plan{Connections: n, Open: b.Size.Workloads}
		err := b.inTurn(
			func() (err error) {
				p := p
				p.Pick = anyOf(b.one.Reads)
				one, err = b.atNexus(ctx, b.one, p)
				return err
			},
			func() (err error) {
				p := p
				p.Pick, p.Identities = anyOf(b.many.Reads), b.ground.Identities
				many, err = b.atNexus(ctx, b.many, p)
				return err
			})
		if err != nil {
			return err
		}
		b.note(fmt.Sprint("policies-", n), Sample{many.Rate(), one.Rate(), many.cpu, one.cpu})
	}
	return nil
}

func (b *bench) writes(ctx context.Context) error {
	ceiling, nexus, err := b.both(ctx, b.written, load.Plan{Connections: 64}, anyOf(b.ceilingWrites), anyOf(b.written.Writes))
	if err != nil {
		return err
	}
	b.note("writes-64", Sample{nexus.Rate(), ceiling.Rate(), nexus.cpu, ceiling.cpu})
	b.noteTimes("writes-64", load.Write, ceiling, nexus)
	return nil
}

// writer is one client that writes, which has each flush to itself.
func (b *bench) writer(ctx context.Context) error {
	ceiling, nexus, err := b.both(ctx, b.written, load.Plan{Connections: 1}, anyOf(b.ceilingWrites), anyOf(b.written.Writes))
	if err != nil {
		return err
	}
	flushes, err := Flush(b.ground.Folder, b.Size.Flushes)
	if err != nil {
		return err
	}
	flush := micros(flushes[len(flushes)/2])
	b.note("flush", Sample{Value: flush})
	b.note("writer-1", Sample{
		Value: micros(nexus.Quantile(load.Write, 0.5)), Base: micros(ceiling.Quantile(load.Write, 0.5)) + 2*flush,
		CPU: nexus.cpu, BaseCPU: ceiling.cpu,
	})
	return nil
}

// mixed is nine reads to one write.
func (b *bench) mixed(ctx context.Context) error {
	ceiling, nexus, err := b.both(ctx, b.written, load.Plan{Connections: 16},
		mix(b.ceilingReads, b.ceilingWrites), mix(b.written.Reads, b.written.Writes))
	if err != nil {
		return err
	}
	b.note("mixed", Sample{Value: nexus.Rate(), Base: ceiling.Rate()})
	b.note("mixed-p99", Sample{
		Value: micros(nexus.Quantile(load.Read, 0.99)), Base: micros(ceiling.Quantile(load.Read, 0.99)),
		CPU: nexus.cpu, BaseCPU: ceiling.cpu,
	})
	return nil
}
