package rootkey

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/shard"
)

// TestExpiryOfAnEarlierSet: the hour of a set is over while the first share of
// another one is being taken. The one that is there now stays.
func TestExpiryOfAnEarlierSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c collection
		add := func(index int) {
			t.Helper()
			if err := c.addLocked(&api.OperatorRestoreRequest{ID: index, Shard: shard.Value{byte(index)}}); err != nil {
				t.Error(err)
			}
		}
		c.mu.Lock()
		add(1)
		// The timer of this set fires now, and finds c locked.
		time.Sleep(restoreLife)
		c.dropLocked()
		add(2)
		c.mu.Unlock()
		synctest.Wait()
		if c.size() != 1 {
			t.Errorf("%d shares are there, and one was taken just now", c.size())
		}
		time.Sleep(restoreLife)
		synctest.Wait()
		if c.size() != 0 {
			t.Errorf("after its hour, %d shares are there", c.size())
		}
	})
}
