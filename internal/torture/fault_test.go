package torture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestAnswerBeforeCommit and TestPublishBeforeCommit have Nexus make the mistakes
// that these tests are there for. A harness that does not notice them would be
// worth nothing.
func TestAnswerBeforeCommit(t *testing.T) {
	caught(t, "answer-before-commit", func() (*load, func(int) error) {
		l := newLoad(t, newCluster(t))
		return l, l.killed
	})
}

// TestPublishBeforeCommit cuts the power, and on a slow disk: a kill would have to
// come in the few microseconds until SQLite has handed everything to the kernel.
func TestPublishBeforeCommit(t *testing.T) {
	if !isolated(t) {
		return
	}
	caught(t, "publish-before-commit", func() (*load, func(int) error) {
		l, d := newLoadOnDisk(t, 5*time.Millisecond)
		return l, func(int) error { return l.powerCut(d) }
	})
}

// caught fails a test unless the fault is noticed.
func caught(t *testing.T, fault string, begin func() (l *load, end func(int) error)) {
	t.Helper()
	// What Nexus does wrong shows by chance, and nearly always at once.
	const attempts = 5
	for range attempts {
		l, end := begin()
		env := func(int) []string { return []string{"SPIKE_FAULT=" + fault} }
		// A store that is behind what a Keeper was told does not open again.
		if err := errors.Join(l.run(10, env, end), l.check()); err != nil {
			t.Logf("noticed: %v", err)
			return
		}
	}
	t.Errorf("%s was not noticed", fault)
}

// TestFailpoints ends Nexus at each place around a commit, under load.
func TestFailpoints(t *testing.T) {
	places := []string{"commit.before", "commit.after", "commit.published"}
	lives := *crashes * len(places)
	l := newLoad(t, newCluster(t))
	env := func(life int) []string {
		return []string{fmt.Sprintf("SPIKE_FAILPOINT=%s:%d", places[life%len(places)], 1+rand.IntN(60))}
	}
	err := l.run(lives, env, func(int) error {
		if err := l.serves(); err != nil {
			return err
		}
		exit, err := l.cluster.Nexus().Ended(t.Context())
		if err == nil && (exit == nil || exit.Error() != "signal: killed") {
			err = fmt.Errorf("nexus ended with %w", errors.Join(exit, errors.New("and not at its place")))
		}
		return err
	})
	must(t, err)
	must(t, l.check())
}
