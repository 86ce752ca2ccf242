package vault_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func secretPath(i int) string { return fmt.Sprintf("bench/app-%03d/key-%06d", i%100, i) }

// benchVault has n secrets and lets workloads have them. Its store is in memory and
// its audit log nowhere: what is measured is the vault.
func benchVault(b *testing.B, n int) *fixture {
	b.Helper()
	f := newFixture(b)
	f.trail.discard, f.disk.forget = true, true
	if err := f.vault.PutPolicy(b.Context(), admin, &api.PolicyPutRequest{
		Name: "bench", SPIFFEIDPattern: `^spiffe://spike\.ist/bench/.*$`, PathPattern: `^bench/.*$`,
		Permissions: []string{"read", "write", "list"},
	}); err != nil {
		b.Fatal(err)
	}
	benchPut(b, f, n, 64)
	return f
}

// benchPut writes n secrets, so many at a time.
func benchPut(b *testing.B, f *fixture, n, together int) {
	value := strings.Repeat("x", 64)
	var wg sync.WaitGroup
	for w := range together {
		wg.Go(func() {
			for i := w; i < n; i += together {
				req := put(secretPath(i%100_000), value)
				if _, err := f.vault.PutSecret(context.Background(), benchCaller(w), req); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchCaller(i int) vault.Caller {
	return vault.Caller{ID: fmt.Sprint("spiffe://spike.ist/bench/", i), Role: role.Workload, Request: "0123456789abcdef"}
}

// BenchmarkGet is a read, from the decision to the entry for the audit log.
func BenchmarkGet(b *testing.B) {
	f := benchVault(b, 1000)
	caller, req := benchCaller(1), &api.SecretGetRequest{Path: secretPath(17)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.vault.GetSecret(b.Context(), caller, req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList is a page of 100 keys out of 100,000.
func BenchmarkList(b *testing.B) {
	f := benchVault(b, 100_000)
	caller, req := benchCaller(1), &api.SecretListRequest{Prefix: "bench/app-042/", Limit: 100}
	b.ReportAllocs()
	for b.Loop() {
		if keys, err := f.vault.ListSecrets(b.Context(), caller, req); err != nil || len(keys) != 100 {
			b.Fatalf("%d keys, %v", len(keys), err)
		}
	}
}

// BenchmarkPut is what a write costs in the vault, the store aside: alone, and with
// 64 that share commits.
func BenchmarkPut(b *testing.B) {
	for _, together := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", together), func(b *testing.B) {
			f := benchVault(b, 1000)
			before := f.disk.count()
			b.ReportAllocs()
			b.ResetTimer()
			benchPut(b, f, b.N, together)
			b.ReportMetric(float64(b.N)/float64(f.disk.count()-before), "writes/commit")
		})
	}
}

// BenchmarkUnlock is a start: 100,000 rows opened, checked and put in order.
func BenchmarkUnlock(b *testing.B) {
	f := benchVault(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		f.restart()
		f.unlock()
	}
}
