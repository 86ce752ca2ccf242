package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

const (
	// clients is how many there are at once.
	clients = 8
	// setPaths is how many paths a set has: few, so that clients meet.
	setPaths = 5
	// setLives is after how many lives of Nexus the clients go on to a new set of
	// paths, coming back to old ones only now and then. It bounds the history of a
	// path, and with it what checking costs.
	setLives = 10
	// callTime bounds a call; what takes longer is unknown.
	callTime = 10 * time.Second
)

// load is a cluster with clients at work, and what they see.
type load struct {
	t       *testing.T
	cluster *clustertest.Cluster
	history *history
	source  *workloadapi.X509Source

	lives  atomic.Int64 // how often Nexus was started
	values atomic.Int64
	open   atomic.Bool // clients wait while it is false
	stop   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	dirty map[string]bool // paths of unknown puts, which the next audit is to look at
}

// newCluster returns a cluster that has been initialized, every Keeper full.
func newCluster(t *testing.T, nexus ...string) *clustertest.Cluster {
	t.Helper()
	c := clustertest.Start(t, clustertest.Options{Programs: programs, Nexus: nexus})
	admin, err := c.Client(t.Context(), role.Superuser)
	must(t, err)
	_, err = admin.OperatorInit(t.Context())
	must(t, err)
	_, err = c.WaitHealthy(t.Context())
	must(t, err)
	return c
}

func newLoad(t *testing.T, c *clustertest.Cluster) *load {
	t.Helper()
	source, err := c.Source(t.Context(), role.Superuser)
	must(t, err)
	return &load{t: t, cluster: c, history: newHistory(), source: source, stop: make(chan struct{}), dirty: map[string]bool{}}
}

// start sets the clients to work. They wait until Nexus is open.
func (l *load) start() {
	for i := range clients {
		l.wg.Go(func() {
			w := l.worker(i)
			defer w.client.Close()
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if !l.open.Load() || !w.step() {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
}

// end stops the clients, and lets one look at every path for a last time, if
// Nexus serves.
func (l *load) end(serves bool) {
	close(l.stop)
	l.wg.Wait()
	if !serves {
		return
	}
	w := l.worker(clients)
	defer w.client.Close()
	for set := range l.set() + 1 {
		for n := range setPaths {
			w.audit(setPath(set, n))
		}
	}
	w.list("", "", 0)
}

// audit looks at the paths of which something is unknown. Nobody else may be at
// work.
func (l *load) audit() {
	l.mu.Lock()
	paths := l.dirty
	l.dirty = map[string]bool{}
	l.mu.Unlock()
	w := l.worker(clients)
	defer w.client.Close()
	for path := range paths {
		w.audit(path)
	}
}

// check holds the history against the model and the simple rules.
func (l *load) check() error {
	return errors.Join(l.history.neverUnseen(), l.history.linearizable())
}

func (l *load) set() int { return int(l.lives.Load()) / setLives }

func setPath(set, n int) string { return fmt.Sprintf("%s%d", setPrefix(set), n) }

// setPrefix has as many digits for every set, so that none is another's prefix.
func setPrefix(set int) string { return fmt.Sprintf("set%06d/path-", set) }

// worker is one client.
type worker struct {
	load   *load
	number int
	client *client.Client
	last   map[string]int // the highest version that it knows of, by path
	life   int64          // the life of Nexus in which it last got no answer
}

func (l *load) worker(number int) *worker {
	td := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString(clustertest.TrustDomain)}
	roles := role.Domains{Trusted: td, Nexus: td, Keeper: td, Pilot: td, Lite: td}
	return &worker{load: l, number: number, last: map[string]int{}, client: client.New(client.Config{
		URL: l.cluster.URL(), SVID: l.source, Bundles: l.source, Timeout: callTime,
		Expect: func(id spiffeid.ID) bool { return roles.Of(id) == role.Nexus },
	})}
}

// step does something at random. It reports whether there was an answer. After
// one that did not come it waits for the next life: the fewer things are unknown,
// the more the history says.
func (w *worker) step() bool {
	if w.life == w.load.lives.Load() {
		return false
	}
	set := w.load.set()
	if set > 0 && rand.IntN(20) == 0 {
		set = rand.IntN(set)
	}
	path := setPath(set, rand.IntN(setPaths))
	in := input{path: path, cas: anyVersion}
	switch n := rand.IntN(100); {
	case n < 25:
		in.kind = opPut
	case n < 40:
		// The version that it knows of, which may be outdated; 0 for a new path.
		in.kind, in.cas = opPut, w.last[path]
	case n < 58:
		in.kind = opGet
	case n < 63:
		in.kind, in.version = opGet, max(0, w.last[path]-rand.IntN(5))
	case n < 70:
		in.kind, in.version = opDelete, max(0, w.last[path]-rand.IntN(3))
	case n < 80:
		in.kind, in.version = opUndelete, max(0, w.last[path]-rand.IntN(3))
	case n < 84:
		in.kind, in.version = opDestroy, max(0, w.last[path]-rand.IntN(4))
	case n < 92:
		in.kind = opMetadata
	case n < 96:
		return w.list(setPrefix(set), "", 0)
	default:
		return w.list(setPrefix(set), path, 1+rand.IntN(setPaths))
	}
	if in.kind == opPut {
		in.value = fmt.Sprintf("v%d", w.load.values.Add(1))
	}
	return w.do(in)
}

// do carries out one operation and takes it down. It reports whether there was
// an answer.
func (w *worker) do(in input) bool {
	life := w.load.lives.Load()
	e := event{client: w.number, in: in, called: w.load.history.now()}
	var err error
	e.out, err = w.call(in)
	e.back = w.load.history.now()
	if err == nil && e.out.version > 0 {
		w.last[in.path] = e.out.version
	}
	switch {
	case err == nil:
		e.out.result = done
	case errors.Is(err, api.ErrNotFound):
		e.out = output{result: notFound}
	case errors.Is(err, api.ErrVersionConflict):
		e.out = output{result: conflict}
		delete(w.last, in.path)
	case errors.Is(err, api.ErrNotReady):
		return false // it was refused: nothing has happened
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, api.ErrInternal):
		if !in.kind.writes() {
			return false
		}
		e.out = output{result: unknown}
		w.life = life
		w.load.mu.Lock()
		w.load.dirty[in.path] = true
		w.load.mu.Unlock()
	default:
		w.load.t.Errorf("%+v: %v", in, err)
		return false
	}
	w.load.history.add(e)
	return e.out.result != unknown
}

// audit reads everything of a path.
func (w *worker) audit(path string) {
	a := audit{called: w.load.history.now(), values: map[int]string{}}
	read := func(in input) output {
		e := event{client: w.number, in: in, called: w.load.history.now()}
		var err error
		e.out, err = w.call(in)
		e.back = w.load.history.now()
		if e.out.result = done; errors.Is(err, api.ErrNotFound) {
			e.out = output{result: notFound}
		} else if err != nil {
			w.load.t.Errorf("audit %+v: %v", in, err)
			return e.out
		}
		w.load.history.add(e)
		return e.out
	}
	a.current = read(input{kind: opMetadata, path: path}).version
	for number := max(1, a.current-keptVersions); number <= a.current; number++ {
		if out := read(input{kind: opGet, path: path, version: number}); out.result == done {
			a.values[number] = out.value
		}
	}
	w.load.history.addAudit(path, a)
}

func (w *worker) call(in input) (out output, err error) {
	ctx := context.Background() // a call has its own limit, and ends with it
	switch in.kind {
	case opPut:
		put := api.SecretPutRequest{Path: in.path, Values: api.Values{"k": in.value}, Return: "version"}
		if in.cas != anyVersion {
			put.CAS = &in.cas
		}
		var res api.SecretPutResponse
		res, err = w.client.SecretPut(ctx, put)
		out.version = res.Version
	case opGet:
		var values api.Values
		values, err = w.client.SecretGet(ctx, in.path, in.version)
		out.value = values["k"]
	case opDelete:
		err = w.client.SecretDelete(ctx, in.path, in.version)
	case opUndelete:
		err = w.client.SecretUndelete(ctx, in.path, in.version)
	case opDestroy:
		err = w.client.SecretDestroy(ctx, in.path, in.version)
	case opMetadata:
		var res api.SecretMetadataResponse
		res, err = w.client.SecretMetadata(ctx, in.path, in.version)
		out.version, out.seen = res.Metadata.CurrentVersion, describeMetadata(res)
	}
	return out, err
}

func describeMetadata(res api.SecretMetadataResponse) string {
	var text strings.Builder
	for number := res.Metadata.OldestVersion; number <= res.Metadata.CurrentVersion; number++ {
		if v, ok := res.Versions[number]; ok {
			describeVersion(&text, number, v.DeletedTime != nil, v.Destroyed)
		}
	}
	return text.String()
}

// list asks for paths, for all with a prefix or for so many after one. For the model
// it is one read of each path of a set that the answer tells of.
func (w *worker) list(prefix, after string, limit int) bool {
	called := w.load.history.now()
	keys, err := w.client.SecretList(context.Background(), api.SecretListRequest{Prefix: prefix, After: after, Limit: limit})
	back := w.load.history.now()
	if err != nil {
		if !errors.Is(err, client.ErrUnreachable) && !errors.Is(err, api.ErrNotReady) && !errors.Is(err, api.ErrInternal) {
			w.load.t.Errorf("list: %v", err)
		}
		return false
	}
	l := listing{called: called, back: back, prefix: prefix, after: after, paths: map[string]bool{}}
	if limit > 0 && len(keys) >= limit {
		l.upto = keys[len(keys)-1]
	}
	for i, key := range keys {
		if !l.tells(key) || i > 0 && key <= keys[i-1] || limit > 0 && i >= limit {
			w.load.t.Errorf("the list of %q after %q, at most %d: %q", prefix, after, limit, keys)
		}
		l.paths[key] = true
	}
	w.load.history.addList(l)
	if prefix == "" {
		return true
	}
	in := input{kind: opList}
	if limit > 0 {
		in.kind = opPage
	}
	for n := range setPaths {
		if in.path = fmt.Sprintf("%s%d", prefix, n); l.tells(in.path) {
			w.load.history.add(event{
				client: w.number, in: in, called: called, back: back,
				out: output{result: done, listed: l.paths[in.path]},
			})
		}
	}
	return true
}
