package server

import (
	"fmt"
	"testing"
)

// BenchmarkEncode is a page of 100 keys.
func BenchmarkEncode(b *testing.B) {
	a := &listAnswer{}
	for i := range 100 {
		a.keys = append(a.keys, fmt.Sprintf("bench/app-042/key-%06d", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		a.encode()
	}
}
