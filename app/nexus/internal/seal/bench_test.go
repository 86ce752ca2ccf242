package seal_test

import (
	"bytes"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/seal"
)

// row is as long as that of a secret of 64 bytes.
const row = 160

func BenchmarkSeal(b *testing.B) {
	k := keyring(b, 7, clusterA, keyA)
	place, plaintext := seal.Place{Table: "secret", ID: 5}, bytes.Repeat([]byte{1}, row)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(place, plaintext); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := keyring(b, 7, clusterA, keyA)
	place := seal.Place{Table: "secret", ID: 5}
	sealed, err := k.Seal(place, bytes.Repeat([]byte{1}, row))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(place, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTag is what a row adds to the digest over all rows.
func BenchmarkTag(b *testing.B) {
	k := keyring(b, 7, clusterA, keyA)
	place := seal.Place{Table: "secret", ID: 5}
	sealed, err := k.Seal(place, bytes.Repeat([]byte{1}, row))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Tag(place, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpener is what a row costs at a start.
func BenchmarkOpener(b *testing.B) {
	k := keyring(b, 7, clusterA, keyA)
	place := seal.Place{Table: "secret", ID: 5}
	sealed, err := k.Seal(place, bytes.Repeat([]byte{1}, row))
	if err != nil {
		b.Fatal(err)
	}
	o, err := k.NewOpener()
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	b.ReportAllocs()
	for b.Loop() {
		o.Tag(place, sealed)
		if _, err := o.Open(place, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
