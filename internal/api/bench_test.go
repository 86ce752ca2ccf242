package api_test

import (
	"encoding/json"
	"testing"
)

// BenchmarkDecode compares requests in their usual form with JSON as it may be.
func BenchmarkDecode(b *testing.B) {
	bench := func(name string, body string, fresh func() usual) {
		b.Run(name+"/usual", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !fresh().DecodeUsual([]byte(body)) {
					b.Fatal("it was not taken")
				}
			}
		})
		b.Run(name+"/json", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := json.Unmarshal([]byte(body), fresh()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bench("get", `{"path":"bench/app-042/key-000042","version":0}`, get)
	bench("put", `{"path":"bench/app-042/key-000042","values":{"value":"0123456789012345678901234567890123456789012345678901234567890123"}}`, put)
}
