package measure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spiffe/spike/app/bench/internal/load"
	"github.com/spiffe/spike/app/bench/internal/rig"
)

// Size says how much is measured, and how long.
type Size struct {
	Rounds int           `json:"rounds"`
	Time   time.Duration `json:"time"` // of one run, warming up aside
	Warm   time.Duration `json:"warm"`
	// Workloads is how many identities there are, and policies where there are many.
	Workloads int `json:"workloads"`
	// Large is how many secrets the large store has, Starts how often it is started.
	Large  int `json:"large"`
	Starts int `json:"starts"`
	// Flushes is how often a round flushes the disk to see what that takes.
	Flushes int `json:"flushes"`
}

// Config is what a run needs.
type Config struct {
	Programs string // the folder of the programs
	Folder   string // on the disk that is to be measured
	Size     Size
	// Only, unless it is empty, leaves out what is not named so; see Parts.
	Only []string
	// Say is told what is going on.
	Say func(format string, args ...any)
}

// small is how many secrets there are where their number is of no interest.
const small = 1000

// inFlight are the numbers of connections that read.
var inFlight = [...]int{1, 16, 64}

// bench is a run under way.
type bench struct {
	Config
	ground  *rig.Ground
	ceiling string   // its address
	one     *rig.Rig // is read alone
	many    *rig.Rig // is read alone as well, under many policies
	written *rig.Rig
	rows    []*Row
	swapped bool // whether the sides of a comparison go the other way round; see inTurn

	ceilingReads, ceilingWrites []*load.Request
}

// Run measures everything. The rows come in the order of the table.
func Run(ctx context.Context, c Config) (rows []*Row, err error) {
	b := &bench{Config: c, rows: table(c.Size), ceilingReads: rig.CeilingReads(), ceilingWrites: rig.CeilingWrites()}
	if b.ground, err = rig.NewGround(c.Folder, c.Size.Workloads); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.ground.Close()) }()
	if b.wants(servingParts()...) {
		err = b.serving(ctx)
	}
	if err == nil && b.wants(largePart) {
		err = b.large(ctx)
	}
	return b.rows, err
}

// largePart is what is measured with a large store.
const largePart = "large"

// Parts are what can be measured by itself.
func Parts() []string { return append(servingParts(), largePart) }

// wants reports whether one of the parts is to be measured.
func (b *bench) wants(parts ...string) bool {
	return len(b.Only) == 0 || slices.ContainsFunc(parts, func(p string) bool { return slices.Contains(b.Only, p) })
}

// note adds a sample to a row, which must be there.
func (b *bench) note(id string, s Sample) {
	r := b.row(id)
	r.Samples = append(r.Samples, s)
}

// row returns nil when no row is called that.
func (b *bench) row(id string) *Row {
	for _, r := range b.rows {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// start starts a cluster.
func (b *bench) start(ctx context.Context, policies, secrets int) (*rig.Rig, error) {
	b.Say("starting a cluster with %d secrets and policies for %d workloads", secrets, policies)
	return rig.New(ctx, rig.Options{Programs: b.Programs, Ground: b.ground, Policies: policies, Secrets: secrets})
}

// figure is what one run came to.
type figure struct {
	*load.Result
	cpu float64 // µs of the server's for each request
}

// run sends what the plan says to the server with that process id.
func (b *bench) run(ctx context.Context, pid int, p load.Plan) (figure, error) {
	p.Warm, p.Time = b.Size.Warm, b.Size.Time
	if p.Identities == nil {
		p.Identities = b.ground.Identities[:1]
	}
	var before, after time.Duration
	p.Began = func() (err error) {
		before, err = rig.CPU(pid)
		return err
	}
	p.Ended = func() (err error) {
		after, err = rig.CPU(pid)
		return err
	}
	result, err := load.Run(ctx, p)
	if err != nil {
		return figure{}, err
	}
	return figure{result, float64((after - before).Microseconds()) / float64(result.Count())}, nil
}

// atCeiling sends a plan to the ceiling's server, and atNexus to a Nexus.
func (b *bench) atCeiling(ctx context.Context, p load.Plan) (figure, error) {
	p.Address = b.ceiling
	f, err := b.run(ctx, b.one.CeilingProcess().PID(), p)
	if err != nil {
		return f, fmt.Errorf("the ceiling's server: %w", err)
	}
	return f, nil
}

func (b *bench) atNexus(ctx context.Context, r *rig.Rig, p load.Plan) (figure, error) {
	p.Address = r.Address()
	f, err := b.run(ctx, r.Nexus().PID(), p)
	if err != nil {
		return f, fmt.Errorf("nexus: %w", err)
	}
	return f, nil
}

// picker is what [load.Plan] picks requests with.
type picker = func(*rand.Rand) *load.Request

// anyOf picks one of a list.
func anyOf(list []*load.Request) picker {
	return func(r *rand.Rand) *load.Request { return list[r.IntN(len(list))] }
}

// mix picks a write once in ten times, and else a read.
func mix(reads, writes []*load.Request) picker {
	read, write := anyOf(reads), anyOf(writes)
	return func(r *rand.Rand) *load.Request {
		if r.IntN(10) == 0 {
			return write(r)
		}
		return read(r)
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
