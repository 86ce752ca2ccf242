package sqlite_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// fill takes the disk's room but for so many bytes, and returns what gives it
// back.
func fill(t *testing.T, disk string, leave int64) (free func()) {
	t.Helper()
	path := filepath.Join(disk, "filler")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		err = file.Truncate(size - leave)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func wantFull(t *testing.T, s *sqlite.Store, b vault.Batch) {
	t.Helper()
	if err := s.Commit(t.Context(), b); !errors.Is(err, vault.ErrFull) {
		t.Fatalf("Commit on a full disk = %v, want ErrFull", err)
	}
}

func TestFullDisk(t *testing.T) {
	if !isolated(t, withMounts()) {
		return
	}
	disk := smallDisk(t, "16m")
	folder := filepath.Join(disk, "store")

	free := fill(t, disk, 0)
	before := picture(t, disk)
	for range 2 {
		_, err := sqlite.Open(t.Context(), sqlite.Config{Folder: filepath.Join(folder, "below")})
		if !errors.Is(err, vault.ErrFull) {
			t.Fatalf("Open of a new store on a full disk = %v, want ErrFull", err)
		}
		if !strings.HasSuffix(err.Error(), "make room on the disk of "+filepath.Join(folder, "below")) {
			t.Errorf("%v: does not say what to do", err)
		}
		samePicture(t, disk, before)
	}
	free()

	s := open(t, folder)
	at := uint64(0)
	for ; at < 10; at++ {
		commit(t, s, next(at, 1000))
	}
	free = fill(t, disk, 0)
	for range 3 {
		wantFull(t, s, next(at, 1<<20))
		checkAt(t, s, at)
	}
	// Reads go on, also after a restart.
	closeStore(t, s)
	s = open(t, folder)
	checkAt(t, s, at)
	wantFull(t, s, next(at, 1<<20))
	free()
	commit(t, s, next(at, 1<<20))
	at++
	checkAt(t, s, at)

	closeStore(t, s)
}

// TestFullDiskRewrite shows that on a full disk, what needs no more room than
// there was goes on: the log is used again from its front.
func TestFullDiskRewrite(t *testing.T) {
	if !isolated(t, withMounts()) {
		return
	}
	disk := smallDisk(t, "16m")
	s := open(t, filepath.Join(disk, "store"))
	rewrite := func(at uint64) vault.Batch {
		b := next(at, 4000)
		b.Put[0].ID = 1
		return b
	}
	at := uint64(0)
	for ; at < 100; at++ {
		commit(t, s, rewrite(at))
	}
	fill(t, disk, 0)
	for ; at < 2000; at++ {
		commit(t, s, rewrite(at))
	}
	wantFull(t, s, next(at, 1<<20))
	b := rewrite(at)
	b.Put, b.Delete = nil, []vault.RowKey{{Table: vault.TableSecret, ID: 1}}
	commit(t, s, b)
	closeStore(t, s)
}

// TestFullDiskAtCheckpoint has the disk full just when the log is to be carried
// over. Commits go on while the log itself has room, each answered truly.
func TestFullDiskAtCheckpoint(t *testing.T) {
	if !isolated(t, withMounts()) {
		return
	}
	disk := smallDisk(t, "16m")
	folder := filepath.Join(disk, "store")
	warnings := &counter{}
	s, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder, Log: slog.New(slog.NewTextHandler(warnings, nil))})
	if err != nil {
		t.Fatal(err)
	}
	free := fill(t, disk, 6<<20)
	const size = 60_000
	at := uint64(0)
	for ; ; at++ {
		if err = s.Commit(t.Context(), next(at, size)); err != nil {
			break
		}
		if at > 1000 {
			t.Fatal("the disk never gets full")
		}
	}
	if !errors.Is(err, vault.ErrFull) {
		t.Fatalf("Commit %d = %v, want ErrFull", at+1, err)
	}
	if warnings.n.Load() != 1 {
		t.Errorf("%d warnings that the database cannot grow, want 1", warnings.n.Load())
	}
	t.Logf("full at commit %d", at+1)
	checkAt(t, s, at)
	checkAt(t, open(t, copied(t, folder)), at) // had the power gone now
	free()

	for range 100 {
		commit(t, s, next(at, size))
		at++
	}
	checkAt(t, open(t, copied(t, folder)), at)
	closeStore(t, s)
	s = open(t, folder)
	checkAt(t, s, at)
	closeStore(t, s)
}

type counter struct{ n atomic.Int32 }

func (c *counter) Write(b []byte) (int, error) {
	c.n.Add(int32(bytes.Count(b, []byte("level=WARN"))))
	return len(b), nil
}

func TestReadOnlyDisk(t *testing.T) {
	if !isolated(t, withMounts()) {
		return
	}
	disk := smallDisk(t, "4m")
	folder := filepath.Join(disk, "store")
	s := open(t, folder)
	commit(t, s, next(0, 100))
	closeStore(t, s)
	before := picture(t, folder)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "mode=0700,size=4m"); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{folder, filepath.Join(disk, "another")} {
		_, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
		if !errors.Is(err, sqlite.ErrFolder) || !strings.Contains(err.Error(), "mounted read-only; mount it for writing") {
			t.Errorf("Open on a read-only disk = %v", err)
		}
	}
	samePicture(t, folder, before)
}
