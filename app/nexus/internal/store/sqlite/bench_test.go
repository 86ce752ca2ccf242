package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// plainFlush is what appending as many bytes and flushing them takes on the disk
// at hand, without any database: what the numbers below are to be measured by.
func plainFlush(b *testing.B, size int) time.Duration {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "plain"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			b.Error(err)
		}
	}()
	content := content(1, size).Bytes()
	const rounds = 300
	start := time.Now()
	for range rounds {
		if _, err := file.Write(content); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fsync(int(file.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start) / rounds
}

func benchOpen(b *testing.B) *sqlite.Store {
	b.Helper()
	s, err := sqlite.Open(b.Context(), sqlite.Config{Folder: filepath.Join(b.TempDir(), "store")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

const benchRow = 300 // a small secret, sealed

// benchCommit commits n batches that append so many rows each.
func benchCommit(b *testing.B, s *sqlite.Store, prev uint64, rows, n int) {
	b.Helper()
	sealed := content(1, benchRow)
	put := make([]vault.Row, rows)
	for i := range n {
		batch := vault.Batch{Prev: prev + uint64(i), State: sealed, Put: put}
		for j := range put {
			put[j] = vault.Row{Table: vault.TableSecret, ID: batch.Prev*uint64(rows) + uint64(j) + 1, Sealed: sealed}
		}
		if err := s.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, rows := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			plain := plainFlush(b, (rows+1)*benchRow)
			s := benchOpen(b)
			b.ReportAllocs()
			b.ResetTimer()
			benchCommit(b, s, 0, rows, b.N)
			b.StopTimer()
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(plain), "x-plain-flush")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	s := benchOpen(b)
	benchCommit(b, s, 0, 1000, 100)
	b.ReportAllocs()
	for b.Loop() {
		rows := 0
		_, _, err := s.Load(context.Background(), func(vault.Row) error {
			rows++
			return nil
		})
		if err != nil || rows != 100_000 {
			b.Fatalf("%d rows, %v", rows, err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	folder := filepath.Join(b.TempDir(), "store")
	s, err := sqlite.Open(b.Context(), sqlite.Config{Folder: folder})
	if err != nil {
		b.Fatal(err)
	}
	benchCommit(b, s, 0, 1000, 100)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := sqlite.Open(b.Context(), sqlite.Config{Folder: folder})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExport is how long a backup has writes wait.
func BenchmarkExport(b *testing.B) {
	s := benchOpen(b)
	benchCommit(b, s, 0, 1000, 100)
	for b.Loop() {
		c, err := s.Export(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(c.Size())
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
