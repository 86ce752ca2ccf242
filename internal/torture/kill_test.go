package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestKills kills Nexus at random moments while clients are at work, most often
// once it serves, now and then while it starts.
func TestKills(t *testing.T) {
	l := newLoad(t, newCluster(t))
	must(t, l.run(*kills, noEnv, l.killed))
	must(t, l.check())
	l.wasBusy(*kills)
}

// killed lets Nexus live for a while, and kills it.
func (l *load) killed(int) error {
	if rand.IntN(8) == 0 {
		time.Sleep(rand.N(150 * time.Millisecond))
		return l.cluster.Nexus().Kill()
	}
	if err := l.serves(); err != nil {
		return err
	}
	time.Sleep(rand.N(400 * time.Millisecond))
	return l.cluster.Nexus().Kill()
}

func noEnv(int) []string { return nil }

// run has Nexus live and die, over and over, with clients at work. env has more
// of Nexus's environment in a life. end waits as long as that life is to last, and
// ends it. An ordinary life follows the last one.
func (l *load) run(lives int, env func(life int) []string, end func(life int) error) error {
	l.t.Helper()
	began := time.Now()
	if err := l.cluster.Nexus().Kill(); err != nil {
		return err
	}
	l.start()
	var err error
	life := 0
	for ; life < lives && err == nil; life++ {
		if err = l.begin(env(life)...); err == nil {
			err = end(life)
		}
		l.open.Store(false)
	}
	if err == nil {
		err = l.begin()
	}
	if err == nil {
		err = l.serves()
	}
	l.end(err == nil)
	if err != nil {
		err = fmt.Errorf("in life %d: %w", life, err)
	}
	l.t.Logf("%d lives in %s: %s", life, time.Since(began).Round(time.Second), l.history.summary())
	return err
}

func (l *load) begin(env ...string) error {
	l.history.restarts()
	l.lives.Add(1)
	return l.cluster.Nexus().Start(env...)
}

// serves waits until Nexus is open, and lets the clients at it.
func (l *load) serves() error {
	if _, err := l.cluster.WaitOpen(context.Background()); err != nil { // it has a limit of its own
		return err
	}
	l.audit()
	l.open.Store(true)
	return nil
}

// wasBusy fails a test whose clients did too little for it to mean anything.
func (l *load) wasBusy(lives int) {
	l.t.Helper()
	for k, least := range map[kind]int{opPut: 5, opGet: 5, opDelete: 1, opUndelete: 1, opDestroy: 1, opMetadata: 1, opList: 1, opPage: 1} {
		if n := l.history.count(k, done); n < least*lives {
			l.t.Errorf("only %d operations %s were answered in %d lives", n, k, lives)
		}
	}
	if n := l.history.count(opPut, unknown); n < lives/4 {
		l.t.Errorf("only %d puts were under way when one of %d lives ended", n, lives)
	}
	if n := l.history.count(opPut, conflict); n == 0 {
		l.t.Error("no put had a conflict")
	}
}
