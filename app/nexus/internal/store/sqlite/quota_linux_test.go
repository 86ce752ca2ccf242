package sqlite_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store"
	"github.com/spiffe/spike/app/nexus/internal/store/storetest"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// refusing decides, for writes to files whose path ends so, to fail.
func refusing(writes *storetest.Intercepted, suffix string, errno syscall.Errno) (count *atomic.Int32) {
	count = new(atomic.Int32)
	writes.Decide(func(path string) error {
		if strings.HasSuffix(path, suffix) {
			count.Add(1)
			return errno
		}
		return nil
	})
	return count
}

// TestQuota has a user's quota used up. It is a disk without room, and no fault: the
// write is refused, reads go on, and so do writes when there is room again.
func TestQuota(t *testing.T) {
	if !isolated(t, &syscall.SysProcAttr{}) {
		return
	}
	writes, err := storetest.InterceptWrites()
	must(t, err)
	for _, errno := range []syscall.Errno{syscall.EDQUOT, syscall.ENOSPC} {
		folder := filepath.Join(t.TempDir(), "store")
		s := open(t, folder)
		at := uint64(0)
		for ; at < 5; at++ {
			commit(t, s, next(at, 1000))
		}
		for _, size := range []int{100, 1 << 20} {
			count := refusing(writes, "-wal", errno)
			for range 3 {
				wantFull(t, s, next(at, size))
				checkAt(t, s, at)
			}
			if count.Load() == 0 {
				t.Fatal("no write was refused")
			}
			writes.Decide(nil)
			commit(t, s, next(at, size))
			at++
		}
		// The log has room, and the database has none: that is for later.
		count := refusing(writes, "spike.db", errno)
		for range 8 {
			commit(t, s, next(at, 1<<20))
			at++
		}
		if count.Load() == 0 {
			t.Error("no checkpoint was due")
		}
		writes.Decide(nil)
		checkAt(t, open(t, copied(t, folder)), at) // had the power gone now
		commit(t, s, next(at, 100))
		closeStore(t, s)
		checkAt(t, open(t, folder), at+1)
	}
}

// TestWriteFault: any other error of a write is a fault.
func TestWriteFault(t *testing.T) {
	if !isolated(t, &syscall.SysProcAttr{}) {
		return
	}
	writes, err := storetest.InterceptWrites()
	must(t, err)
	s := open(t, filepath.Join(t.TempDir(), "store"))
	commit(t, s, next(0, 1000))
	refusing(writes, "-wal", syscall.EIO)
	if err := s.Commit(t.Context(), next(1, 1000)); err == nil || errors.Is(err, vault.ErrFull) {
		t.Errorf("Commit = %v", err)
	}
	writes.Decide(nil)
	if err := s.Commit(t.Context(), next(1, 1000)); !errors.Is(err, store.ErrFailed) {
		t.Errorf("Commit after a fault = %v, want ErrFailed", err)
	}
	closeStore(t, s)
}

// TestQuotaAtFlush: some file systems notice at a flush alone that there is no room.
// What the flush left on the disk is not known, so that is a fault.
func TestQuotaAtFlush(t *testing.T) {
	if !isolated(t, &syscall.SysProcAttr{}) {
		return
	}
	flushes, err := storetest.InterceptFlushes()
	must(t, err)
	for _, errno := range []syscall.Errno{syscall.EDQUOT, syscall.ENOSPC} {
		s := open(t, filepath.Join(t.TempDir(), "store"))
		commit(t, s, next(0, 1000))
		refusing(flushes, "-wal", errno)
		if err := s.Commit(t.Context(), next(1, 1000)); err == nil || errors.Is(err, vault.ErrFull) {
			t.Errorf("Commit whose flush fails with %v = %v", errno, err)
		}
		flushes.Decide(nil)
		closeStore(t, s)
	}
}
