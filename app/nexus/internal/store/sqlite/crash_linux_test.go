package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestKilled kills a process in the midst of its commits, again and again. What
// it was answered is there, and of what it was not at most the one commit.
func TestKilled(t *testing.T) {
	if child() == "commit" {
		s := open(t, os.Getenv(folderVariable))
		at, err := loaded(s)
		must(t, err)
		for ; ; at++ {
			fmt.Println("> at", at) // once it is there, or was before
			commit(t, s, next(at, int(at%7)*3000+100))
		}
	}
	folder := filled(t)
	last := uint64(1)
	for range 8 {
		cmd := childCommand(t, "commit")
		cmd.Env = append(cmd.Env, folderVariable+"="+folder)
		lines := startChild(t, cmd)
		first := <-lines // it is at work
		time.Sleep(rand.N(60 * time.Millisecond))
		must(t, cmd.Process.Kill())
		acked := number(t, first)
		for line := range lines {
			acked = number(t, line)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the process ended well")
		}
		if acked < last {
			t.Errorf("it began at %d, and %d had been there", acked, last)
		}
		s := open(t, folder)
		at, err := loaded(s)
		must(t, err)
		if at != acked && at != acked+1 {
			t.Errorf("the store is at %d after %d were answered", at, acked)
		}
		last = at
		closeStore(t, s)
	}
	t.Logf("%d commits", last)
}

func number(t *testing.T, line string) uint64 {
	t.Helper()
	var at string
	_, err := fmt.Sscanf(line, "at %s", &at)
	must(t, err)
	n, err := strconv.ParseUint(at, 10, 64)
	must(t, err)
	return n
}
