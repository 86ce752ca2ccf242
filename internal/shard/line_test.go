package shard_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/shard"
)

func of() shard.Origin {
	return shard.Origin{Cluster: strings.Repeat("0c", 16), KeyID: strings.Repeat("f9", 16)}
}

// TestLineForm holds the form by itself: people have such lines on paper for years.
func TestLineForm(t *testing.T) {
	v := sample()
	const digits = "c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7"
	long := "spike:2:" + digits + ":" + of().Cluster + ":" + of().KeyID + ":4e80cec0"
	if got := string(shard.Line(2, &v, of())); got != long {
		t.Errorf("got %s", got)
	}
	for name, unfit := range map[string]shard.Origin{
		"none": {}, "no key": {Cluster: "c"}, "a colon": {Cluster: "c:d", KeyID: "k"}, "a capital": {Cluster: "C", KeyID: "k"},
		"too long": {Cluster: strings.Repeat("c", 65), KeyID: "k"},
	} {
		if got := string(shard.Line(2, &v, unfit)); got != "spike:2:"+digits {
			t.Errorf("%s: got %s", name, got)
		}
	}
	for _, line := range []string{long, "spike" + strings.ToUpper(long[5:]), " " + long + "\r\n"} {
		index, back, from, err := shard.ParseLine([]byte(line))
		if err != nil || index != 2 || back != v || from != of() {
			t.Errorf("%q came back as %d of %+v, %v", line, index, from, err)
		}
	}
	if index, back, from, err := shard.ParseLine([]byte("spike:2:" + digits)); err != nil || index != 2 || back != v || from != (shard.Origin{}) {
		t.Errorf("the short form came back as %d of %+v, %v", index, from, err)
	}
}

func TestLineRefusals(t *testing.T) {
	v := sample()
	for _, from := range []shard.Origin{{}, of()} {
		good := string(shard.Line(2, &v, from))
		for _, line := range []string{
			"", "spike", good[6:], strings.Replace(good, "spike", "spork", 1),
			strings.Replace(good, ":2:", ":0:", 1), strings.Replace(good, ":2:", ":256:", 1),
			strings.Replace(good, ":2:", ":+2:", 1), strings.Replace(good, ":2:", ":x:", 1),
			good[:len(good)-1], good + "0", good[:len(good)-1] + "g", good + ":1",
		} {
			index, back, origin, err := shard.ParseLine([]byte(line))
			if !errors.Is(err, shard.ErrFormat) {
				t.Errorf("%q: got %v", line, err)
			} else if strings.Contains(err.Error(), "c8c9ca") {
				t.Errorf("the error repeats the shard: %v", err)
			}
			if index != 0 || back != (shard.Value{}) || origin != (shard.Origin{}) {
				t.Errorf("%q: something is left of it", line)
			}
		}
	}
}

// TestSlips has each character of a line changed to each of some others, two
// neighbours swapped, and the index of another shard: none of these is taken.
func TestSlips(t *testing.T) {
	v := sample()
	good := shard.Line(2, &v, of())
	slips := [][]byte{bytes.Replace(good, []byte(":2:"), []byte(":3:"), 1)}
	for i := range good {
		for _, c := range []byte("0189abf:- ") {
			if c != good[i] {
				slip := bytes.Clone(good)
				slip[i] = c
				slips = append(slips, slip)
			}
		}
		if i > 0 && good[i] != good[i-1] {
			slip := bytes.Clone(good)
			slip[i], slip[i-1] = slip[i-1], slip[i]
			slips = append(slips, slip)
		}
		slips = append(slips, append(bytes.Clone(good[:i]), good[i+1:]...))
	}
	for _, slip := range slips {
		if bytes.Equal(slip, good) {
			continue
		}
		if _, _, _, err := shard.ParseLine(slip); !errors.Is(err, shard.ErrFormat) {
			t.Errorf("%s: got %v", slip, err)
		}
	}
	// A digit that is still a digit is what only the check can find.
	wrong := bytes.Replace(good, []byte("c8c9"), []byte("c8c8"), 1)
	if _, _, _, err := shard.ParseLine(wrong); !errors.Is(err, shard.ErrCheck) {
		t.Errorf("got %v", err)
	}
}

func FuzzLine(f *testing.F) {
	v := sample()
	f.Add(shard.Line(1, &v, shard.Origin{}))
	f.Add(shard.Line(255, &v, of()))
	f.Add([]byte(" spike:3:00\n"))
	f.Add([]byte("spike:3:00:c:k:00000000"))
	f.Fuzz(func(t *testing.T, line []byte) {
		index, v, from, err := shard.ParseLine(line)
		if err != nil {
			return
		}
		if got := shard.Line(index, &v, from); !bytes.EqualFold(got, bytes.TrimSpace(line)) {
			t.Errorf("a line came back different")
		}
	})
}
