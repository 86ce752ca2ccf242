package shamir_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
	"github.com/spiffe/spike/internal/shard"
)

func newSecret(t interface{ Fatal(...any) }) secret.Key {
	s, err := shamir.NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnyThresholdOfTheSharesIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 7).Draw(t, "count")
		threshold := rapid.IntRange(1, count).Draw(t, "threshold")
		s := newSecret(t)
		defer s.Destroy()
		shares, err := shamir.Split(s, threshold, count)
		if err != nil {
			t.Fatal(err)
		}
		defer shamir.Destroy(shares)
		shuffled := rapid.Permutation(shares).Draw(t, "order")
		given := rapid.IntRange(0, count).Draw(t, "given")
		back, err := shamir.Combine(threshold, shuffled[:given])
		defer back.Destroy()
		switch {
		case given < threshold && !errors.Is(err, shamir.ErrUnusable):
			t.Fatalf("%d of %d shares: %v", given, threshold, err)
		case given >= threshold && (err != nil || !back.Equal(s)):
			t.Fatalf("%d of %d shares did not give the secret back: %v", given, threshold, err)
		}
	})
}

func TestSetsAreIndependent(t *testing.T) {
	s := newSecret(t)
	a, err := shamir.Split(s, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	b, err := shamir.Split(s, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if a[i].Value.Equal(b[i].Value) {
			t.Errorf("share %d is the same in both sets", i+1)
		}
	}
	mixed, err := shamir.Combine(2, []shamir.Share{a[0], b[1]})
	if err == nil && mixed.Equal(s) {
		t.Error("one share of each set made the secret")
	}
}

func TestBadSharesAreRefused(t *testing.T) {
	s := newSecret(t)
	shares, err := shamir.Split(s, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	key := func(b []byte) secret.Key {
		k, err := secret.NewKey(b)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, bad := range map[string]shamir.Share{
		"duplicate":    shares[0],
		"index zero":   {Index: 0, Value: shares[1].Value},
		"index 256":    {Index: 256, Value: shares[1].Value},
		"short":        {Index: 2, Value: key(make([]byte, 31))},
		"long":         {Index: 2, Value: key(make([]byte, 33))},
		"out of range": {Index: 2, Value: key(bytes.Repeat([]byte{0xff}, shard.Size))},
		"wiped":        {Index: 2},
	} {
		if _, err := shamir.Combine(2, []shamir.Share{shares[0], bad}); !errors.Is(err, shamir.ErrUnusable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := shamir.Split(key(make([]byte, shard.Size)), 2, 3); err == nil {
		t.Error("zero was split")
	}
	for _, c := range [][2]int{{0, 3}, {4, 3}, {2, 256}, {0, 0}} {
		if _, err := shamir.Split(s, c[0], c[1]); err == nil {
			t.Errorf("%d of %d was split", c[0], c[1])
		}
	}
}

func TestDigestDependsOnEveryPart(t *testing.T) {
	base := shamir.Place{Cluster: [16]byte{1}, KeyID: [16]byte{2}, Set: "keeper", Index: 1}
	value := bytes.Repeat([]byte{7}, shard.Size)
	variants := []shamir.Place{base, base, base, base, base}
	variants[1].Cluster[15] = 9
	variants[2].KeyID[0] = 9
	variants[3].Set = "paper"
	variants[4].Index = 2
	var digests []string
	for _, p := range variants {
		d := shamir.Digest(p, value)
		digests = append(digests, string(d[:]))
	}
	other := shamir.Digest(base, bytes.Repeat([]byte{8}, shard.Size))
	digests = append(digests, string(other[:]))
	slices.Sort(digests)
	if len(slices.Compact(digests)) != len(variants)+1 {
		t.Error("two different shares have one digest")
	}
}
