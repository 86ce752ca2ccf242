package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
)

const folderVariable = "SPIKE_STORE_TEST_FOLDER"

// TestInUse has another process hold the folder, and die of SIGKILL.
func TestInUse(t *testing.T) {
	if child() == "hold" {
		s := open(t, os.Getenv(folderVariable))
		commit(t, s, next(1, 100))
		fmt.Println("> open")
		_, err := io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent was
		must(t, err)
		return
	}
	folder := filled(t)
	cmd := childCommand(t, "hold")
	cmd.Env = append(cmd.Env, folderVariable+"="+folder)
	_, err := cmd.StdinPipe()
	must(t, err)
	lines := startChild(t, cmd)
	if line := <-lines; line != "open" {
		t.Fatalf("the other process says %q", line)
	}
	host, err := os.Hostname()
	must(t, err)
	before := picture(t, folder)
	for range 3 {
		refused(t, folder, sqlite.ErrInUse,
			fmt.Sprintf("the process with id %d on %s has %s", cmd.Process.Pid, host, folder), "stop that one first")
	}
	samePicture(t, folder, before)

	// Somebody removes the lock: SQLite's own is left, and is respected.
	lock, err := os.ReadFile(filepath.Join(folder, "nexus.lock"))
	must(t, err)
	must(t, os.Rename(filepath.Join(folder, "nexus.lock"), folder+".lock"))
	refused(t, folder, sqlite.ErrInUse, "some other process has the database in "+folder)
	must(t, os.Rename(folder+".lock", filepath.Join(folder, "nexus.lock")))
	samePicture(t, folder, before)

	must(t, cmd.Process.Kill())
	for range lines { // until it is gone
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the other process ended well")
	}
	if now, err := os.ReadFile(filepath.Join(folder, "nexus.lock")); err != nil || string(now) != string(lock) {
		t.Errorf("the lock of the dead process says %q, %v", now, err)
	}
	checkAt(t, open(t, folder), 2)
}

func TestInUseBySelf(t *testing.T) {
	folder := filled(t)
	s := open(t, folder)
	for range 2 {
		refused(t, folder, sqlite.ErrInUse, "the process with id "+strconv.Itoa(os.Getpid()))
	}
	// That attempt must not have cost the first one its locks.
	commit(t, s, next(1, 100))
	closeStore(t, s)
	checkAt(t, open(t, folder), 2)
}

// TestStaleLock has lock files of the dead, and worse.
func TestStaleLock(t *testing.T) {
	for _, content := range []string{"", "2147483647 somewhere\n", "garbage", "1 host", string(make([]byte, 5000))} {
		folder := filled(t)
		must(t, os.WriteFile(filepath.Join(folder, "nexus.lock"), []byte(content), 0o600))
		s := open(t, folder)
		checkAt(t, s, 1)
		refused(t, folder, sqlite.ErrInUse, "the process with id "+strconv.Itoa(os.Getpid()))
		closeStore(t, s)
	}
}

// TestManyStartAtOnce: of several that find the same new folder one has it, and the
// others are told so, whatever they saw of it while it came to be.
func TestManyStartAtOnce(t *testing.T) {
	for range 20 {
		folder := filepath.Join(t.TempDir(), "above", "store")
		var wg sync.WaitGroup
		stores := make([]*sqlite.Store, 6)
		for i := range stores {
			wg.Go(func() {
				var err error
				stores[i], err = sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
				if err != nil && !errors.Is(err, sqlite.ErrInUse) {
					t.Errorf("Open = %v, want ErrInUse", err)
				}
			})
		}
		wg.Wait()
		won := 0
		for _, s := range stores {
			if s != nil {
				won++
				commit(t, s, next(0, 100))
				closeStore(t, s)
			}
		}
		if won != 1 {
			t.Errorf("%d have the folder", won)
		}
		checkAt(t, open(t, folder), 1)
	}
}
