package clustertest

import (
	"context"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/keeper"
)

// addKeeper starts one more Keeper and waits until it answers.
func addKeeper(t *testing.T, c *Cluster) int {
	t.Helper()
	number, err := c.AddKeeper()
	must(t, err, c.Keeper(number).Start())
	must(t, c.poll(t.Context(), "the new Keeper's answer", func(ctx context.Context) error {
		_, err := c.Held(ctx, number)
		return err
	}))
	return number
}

// peers is what SPIKE_NEXUS_KEEPER_PEERS has to be, with these Keepers.
func peers(c *Cluster, numbers ...int) string {
	var urls []string
	for _, n := range numbers {
		urls = append(urls, c.KeeperURL(n).String())
	}
	return "SPIKE_NEXUS_KEEPER_PEERS=" + strings.Join(urls, ",")
}

func holds(t *testing.T, c *Cluster, number int) *keeper.Share {
	t.Helper()
	held, err := c.Held(t.Context(), number)
	must(t, err)
	return held.Active
}

// TestReplaceKilledAtEachStep ends Nexus at each step of a Keeper's replacement,
// and a Keeper with it, so that the rest is just enough. Nexus opens by itself, and
// the same command ends what it began.
func TestReplaceKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		failpoint     string
		moved, erased bool
	}{
		{"replace.contributed", false, false},
		{"commit.before", false, false},
		{"commit.after", true, false},
		{"replace.filled", true, false},
		{"replace.erased", true, true},
	} {
		t.Run(step.failpoint, func(t *testing.T) {
			t.Parallel()
			c := start(t, Options{})
			list := samples(t, t.TempDir())
			c.put(t, list)
			share := holds(t, c, 2).Value
			fresh := addKeeper(t, c)
			replace := []string{"operator", "keeper", "replace", "2", c.KeeperURL(fresh).String()}
			must(t, c.Nexus().Kill(), c.Nexus().Start("SPIKE_FAILPOINT="+step.failpoint))
			healthy(t, c)
			if r := c.spike(t, 6, replace...); !strings.Contains(r.Stderr, "not known") {
				t.Errorf("a replacement without an answer says\n%s", r.Stderr)
			}
			diedAt(t, c, step.failpoint)

			present := []int{1, 2, 3}
			if step.moved {
				present[1] = fresh
			}
			must(t, c.Keeper(3).Kill(), c.Nexus().Start(peers(c, present...)))
			_, err := c.WaitOpen(t.Context())
			must(t, err)
			c.check(t, list)

			must(t, c.Keeper(3).Start())
			healthy(t, c)
			r := c.spike(t, 0, replace...)
			healthy(t, c)
			if strings.Contains(r.Stderr, "its share is erased") == step.moved {
				t.Errorf("the second time, it says\n%s", r.Stderr)
			}
			if got := holds(t, c, fresh); got == nil || got.Value != share {
				t.Error("the new Keeper does not hold the share")
			}
			// A Nexus that was killed has forgotten whom it was to erase.
			if left := holds(t, c, 2) != nil; left != (step.moved && !step.erased) {
				t.Errorf("the old Keeper has its share: %v", left)
			}
			c.checkNoTrace(t, list)
		})
	}
}
