package audit_test

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/audit"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// BenchmarkLine is what every request waits for: a line, to nowhere and to a file.
func BenchmarkLine(b *testing.B) {
	e := vault.Entry{
		Time: time.Now(), Request: "0123456789abcdef", Caller: "spiffe://spike.ist/bench/0017", Operation: "secret.get",
		Path: "bench/app-042/key-000042", Version: 1, Allowed: true, By: "policy bench",
	}
	bench := func(name string, to io.Writer) {
		b.Run(name, func(b *testing.B) {
			log := audit.New(to)
			b.ReportAllocs()
			for b.Loop() {
				if err := log.Write(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bench("nowhere", io.Discard)
	file, err := os.Create(b.TempDir() + "/audit.log")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	bench("file", file)
}
