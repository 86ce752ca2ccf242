package vault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// held makes the next commit wait. It is under way once begun is closed, and
// goes on with release's error.
func (f *fixture) held() (begun chan struct{}, release chan error) {
	begun, release = make(chan struct{}), make(chan error, 1)
	var once sync.Once
	f.disk.hook(func(vault.Batch) error {
		var err error
		once.Do(func() {
			close(begun)
			err = <-release
		})
		return err
	})
	return begun, release
}

type outcome struct {
	version int
	err     error
}

func (f *fixture) putLater(ctx context.Context, path, value string) chan outcome {
	done := make(chan outcome, 1)
	go func() {
		version, err := f.vault.PutSecret(ctx, admin, put(path, value))
		done <- outcome{version, err}
	}()
	return done
}

func TestNothingIsVisibleBeforeItIsDurable(t *testing.T) {
	f := newFixture(t)
	f.put("p", "old")
	begun, release := f.held()
	done := f.putLater(t.Context(), "p", "new")
	<-begun
	f.wantGet("p", 0, "old")
	select {
	case o := <-done:
		t.Fatalf("answered before the commit: %+v", o)
	default:
	}
	release <- nil
	if o := <-done; o.err != nil || o.version != 2 {
		t.Fatalf("got %+v", o)
	}
	f.wantGet("p", 0, "new")
}

// TestGroupCommit holds one commit up while others queue: they share the next.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		before := f.disk.count()
		begun, release := f.held()
		first := f.putLater(t.Context(), "first", "v")
		<-begun
		var waiting []chan outcome
		for i := range 64 {
			waiting = append(waiting, f.putLater(t.Context(), fmt.Sprint("p", i%32), "v"))
		}
		zero := 0
		conflict := make(chan error, 1)
		go func() {
			req := put("first", "again")
			req.CAS = &zero
			_, err := f.vault.PutSecret(t.Context(), admin, req)
			conflict <- err
		}()
		synctest.Wait() // all of them are in the queue
		release <- nil
		if o := <-first; o.err != nil {
			t.Error(o.err)
		}
		for _, w := range waiting {
			if o := <-w; o.err != nil {
				t.Errorf("one refused write failed another: %v", o.err)
			}
		}
		if err := <-conflict; !errors.Is(err, api.ErrVersionConflict) {
			t.Errorf("the conflicting write: %v", err)
		}
		if commits := f.disk.count() - before; commits != 2 {
			t.Errorf("%d commits for 65 writes, want 2", commits)
		}
		for i := range 32 {
			f.wantGet(fmt.Sprint("p", i), 2, "v")
		}
		f.restart()
		f.unlock()
	})
}

// TestLargeWritesDoNotShareACommit: 8 MiB are the most that one takes, and what a
// delete writes anew counts as well.
func TestLargeWritesDoNotShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		large := strings.Repeat("x", 3<<20)
		for i := range 3 {
			f.put(fmt.Sprint("old", i), large)
		}
		before := f.disk.count()
		begun, release := f.held()
		first := f.putLater(t.Context(), "first", "v")
		<-begun
		var waiting []chan outcome
		for i := range 3 {
			waiting = append(waiting, f.putLater(t.Context(), fmt.Sprint("new", i), large))
		}
		deleted := make(chan error, 3)
		for i := range 3 {
			go func() {
				deleted <- f.vault.DeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: fmt.Sprint("old", i)})
			}()
		}
		synctest.Wait()
		release <- nil
		<-first
		for _, w := range waiting {
			if o := <-w; o.err != nil {
				t.Error(o.err)
			}
			if err := <-deleted; err != nil {
				t.Error(err)
			}
		}
		if commits := f.disk.count() - before; commits != 1+3 {
			t.Errorf("%d commits, want 4: six writes of 3 MB, two of which fit", commits)
		}
	})
}

// TestManyVersionsInOneBatch prunes versions that never reached the store.
func TestManyVersionsInOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.put("p", "v")
		begun, release := f.held()
		first := f.putLater(t.Context(), "q", "v")
		<-begun
		var waiting []chan outcome
		for range 20 {
			waiting = append(waiting, f.putLater(t.Context(), "p", "v"))
		}
		synctest.Wait()
		release <- nil
		<-first
		for _, w := range waiting {
			if o := <-w; o.err != nil {
				t.Error(o.err)
			}
		}
		f.restart()
		f.unlock()
		f.wantGet("p", 21, "v")
		f.wantGet("p", 19, "v")
		f.wantErr("p", 18, api.ErrNotFound)
		if rows := len(f.disk.read(t).rows); rows != 6+3+1 {
			t.Errorf("the store has %d rows", rows)
		}
	})
}

func TestWhoGivesUpWithdraws(t *testing.T) {
	f := newFixture(t)
	begun, release := f.held()
	ctx, cancel := context.WithCancel(t.Context())
	taken := f.putLater(ctx, "taken", "v")
	<-begun
	queued := f.putLater(ctx, "queued", "v")
	cancel()
	if o := <-queued; !errors.Is(o.err, context.Canceled) {
		t.Errorf("the write that waited: %+v", o)
	}
	release <- nil
	if o := <-taken; o.err != nil {
		t.Errorf("the write that was taken: %+v", o)
	}
	f.put("after", "v")
	f.wantGet("taken", 0, "v")
	f.wantErr("queued", 0, api.ErrNotFound)
}

func TestFullStoreRefusesWritesOnly(t *testing.T) {
	f := newFixture(t)
	f.put("p", "old")
	f.disk.hook(func(vault.Batch) error { return fmt.Errorf("disk: %w", vault.ErrFull) })
	if _, err := f.vault.PutSecret(t.Context(), admin, put("p", "new")); !errors.Is(err, vault.ErrFull) {
		t.Errorf("got %v", err)
	}
	f.wantGet("p", 0, "old")
	if !f.vault.Full() {
		t.Error("nobody is told that there is no room")
	}
	f.disk.hook(nil)
	if version := f.put("p", "new"); version != 2 {
		t.Errorf("a refused write used up a version: %d", version)
	}
	if f.vault.Full() {
		t.Error("there is room again, and nobody is told")
	}
	f.restart()
	f.unlock()
	f.wantGet("p", 0, "new")
}

func TestStorageFaultStopsTheVault(t *testing.T) {
	f := newFixture(t)
	f.put("p", "old")
	fault := errors.New("flush failed")
	begun, release := f.held()
	taken := f.putLater(t.Context(), "p", "new")
	<-begun
	queued := f.putLater(t.Context(), "q", "new")
	release <- fault
	if o := <-taken; !errors.Is(o.err, fault) {
		t.Errorf("the write was answered %+v", o)
	}
	if o := <-queued; o.err == nil {
		t.Error("a later write was answered yes")
	}
	<-f.vault.Failed()
	if !errors.Is(f.vault.Failure(), fault) {
		t.Errorf("the failure is %v", f.vault.Failure())
	}
	f.wantErr("p", 0, api.ErrNotReady)
	// The write never reached this disk; after a restart that is what there is.
	f.disk.hook(nil)
	f.restart()
	f.unlock()
	f.wantGet("p", 0, "old")
}

func TestStopWrites(t *testing.T) {
	f := newFixture(t)
	begun, release := f.held()
	done := f.putLater(t.Context(), "p", "v")
	<-begun
	stopped := make(chan struct{})
	go func() {
		f.vault.StopWrites()
		close(stopped)
	}()
	release <- nil
	<-stopped
	if o := <-done; o.err != nil {
		t.Errorf("an accepted write: %v", o.err)
	}
	if _, err := f.vault.PutSecret(t.Context(), admin, put("q", "v")); !errors.Is(err, api.ErrNotReady) {
		t.Errorf("a later write: %v", err)
	}
	f.wantGet("p", 0, "v")
}

// TestConcurrentUse is for the race detector, and checks that a reader never
// sees a version go back.
func TestConcurrentUse(t *testing.T) {
	f := newFixture(t)
	f.put("p", "0")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := f.vault.ListSecrets(t.Context(), admin, &api.SecretListRequest{}); err != nil {
					t.Error(err)
				}
				got, err := f.get("p", 0)
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if _, err := fmt.Sscanf(got, `{"k":"%d"}`, &n); err != nil || n < last {
					t.Errorf("saw %s after %d", got, last)
				}
				last = n
			}
		})
	}
	for i := range 300 {
		f.put("p", fmt.Sprint(i))
		f.put(fmt.Sprint("other", i), "v")
	}
	close(stop)
	wg.Wait()
}
