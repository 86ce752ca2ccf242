package server

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// goal is how large the heap may become before it is collected next.
func goal() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.NextGC
}

// TestSlackSparesCollections is not parallel: what others use would count.
func TestSlackSparesCollections(t *testing.T) {
	runtime.GC()
	without := goal()
	s := newSlack()
	runtime.GC()
	with := goal()
	s.giveUp()
	given := goal()
	s.takeBack()
	s.back.Stop()
	if with < without+slackSize/2 || with > without+2*slackSize || given > without+slackSize/4 {
		t.Errorf("the heap may become %d bytes without slack, %d with it, %d once it was given up", without, with, given)
	}
}

func TestSlackComesBackAfterLargeBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlack()
		there := func(want bool, when string) {
			t.Helper()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if (s.block != nil) != want {
				t.Errorf("%s: slack is there: %v", when, !want)
			}
		}
		there(true, "at first")
		s.giveUp()
		s.giveUp()
		there(false, "with two bodies")
		s.takeBack()
		time.Sleep(2 * slackPause)
		there(false, "with one body")
		s.takeBack()
		time.Sleep(slackPause / 2)
		there(false, "soon after the last")
		s.giveUp()
		time.Sleep(2 * slackPause)
		there(false, "with another one")
		s.takeBack()
		time.Sleep(2 * slackPause)
		there(true, "long after the last")
	})
}
