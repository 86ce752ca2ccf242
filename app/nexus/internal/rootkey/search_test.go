package rootkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/shard"
)

// TestEverySubsetOfKeepers: of 5 Keepers, each of the 32 subsets that can be up.
// Nexus opens exactly when at least 3 are.
func TestEverySubsetOfKeepers(t *testing.T) {
	const all = 5
	w := newWorld(t, all, 3)
	n := w.start()
	n.init()
	n.put("p")
	n.stop()
	unreachable := func(rw http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) }
	for subset := range 1 << all {
		for i, k := range w.keepers {
			k.misbehave(nil)
			if subset&(1<<i) == 0 {
				k.misbehave(unreachable)
			}
		}
		n := w.start()
		if bits.OnesCount(uint(subset)) >= 3 {
			n.opens()
			n.has("p")
		} else {
			n.staysLocked(100 * time.Millisecond)
		}
		n.stop()
	}
}

func TestOpensWhenEnoughReturn(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.put("p")
	n.stop()
	w.keepers[0].misbehave(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	w.keepers[1].down()
	n = w.start()
	n.staysLocked(500 * time.Millisecond)
	s := n.status()
	if s.State != api.StateLocked || !strings.Contains(s.Reason, "of 3 Keepers 1 hold") || *s.Spare != -1 {
		t.Errorf("status: %+v", s)
	}
	w.keepers[1].up() // it comes back empty, which is no help
	n.staysLocked(300 * time.Millisecond)
	w.keepers[0].misbehave(nil)
	n.opens()
	n.has("p")
	w.eventually("the empty Keeper is filled", func() bool { return w.keepers[1].held() != nil })
}

// faults is what a Keeper can do wrong with its share.
func faults(w *world) map[string]func(k *keeperHost, i int) {
	answer := func(k *keeperHost, f func(http.ResponseWriter)) {
		k.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
			f(rw)
			return true
		})
	}
	replace := func(k *keeperHost, change func(*keeper.Share)) {
		share := *k.held()
		k.down()
		k.up()
		// Under a signing key that is not ours nobody can put it right.
		share.Tag.PublicKey = bytes.Clone(share.Tag.PublicKey)
		share.Tag.PublicKey[0] ^= 1
		change(&share)
		err := k.holder.Contribute(&share, nil)
		if err == nil {
			err = k.holder.Promote(share.Tag.KeyID, nil)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	hex := func(b byte) string { return strings.Repeat(fmt.Sprintf("%02x", b), 16) }
	return map[string]func(k *keeperHost, i int){
		"one bit wrong": func(k *keeperHost, _ int) { replace(k, func(s *keeper.Share) { s.Value[9] ^= 1 }) },
		"nearly zero":   func(k *keeperHost, _ int) { replace(k, func(s *keeper.Share) { s.Value = shard.Value{31: 1} }) },
		"stale": func(k *keeperHost, _ int) {
			replace(k, func(s *keeper.Share) { s.Value[0] ^= 1; s.Tag.KeyID = hex(7) })
		},
		"foreign": func(k *keeperHost, _ int) {
			replace(k, func(s *keeper.Share) { s.Value[0] ^= 1; s.Tag.Cluster = hex(7) })
		},
		"out of range": func(k *keeperHost, _ int) {
			replace(k, func(s *keeper.Share) {
				for j := range s.Value {
					s.Value[j] = 0xff
				}
			})
		},
		"another's share": func(k *keeperHost, i int) {
			other := *w.keepers[(i+1)%len(w.keepers)].held()
			replace(k, func(s *keeper.Share) { *s = other })
		},
		"lying tag": func(k *keeperHost, i int) {
			other := *w.keepers[(i+1)%len(w.keepers)].held()
			replace(k, func(s *keeper.Share) { s.Value = other.Value })
		},
		"empty": func(k *keeperHost, _ int) { k.down(); k.up() },
		"gone":  func(k *keeperHost, _ int) { k.down() },
		"hangs": func(k *keeperHost, _ int) {
			k.misbehave(func(http.ResponseWriter, *http.Request) bool { <-k.quit; return true })
		},
		"drips": func(k *keeperHost, _ int) {
			k.misbehave(func(rw http.ResponseWriter, r *http.Request) bool {
				for stopped := false; !stopped; {
					_, _ = rw.Write([]byte(" "))
					_ = http.NewResponseController(rw).Flush()
					select {
					case <-k.quit:
						stopped = true
					case <-time.After(50 * time.Millisecond):
					}
				}
				return true
			})
		},
		"404": func(k *keeperHost, _ int) {
			answer(k, func(rw http.ResponseWriter) { http.Error(rw, `{"err":"api_not_found"}`, 404) })
		},
		"500": func(k *keeperHost, _ int) { answer(k, func(rw http.ResponseWriter) { http.Error(rw, `{}`, 500) }) },
		"nonsense": func(k *keeperHost, _ int) {
			answer(k, func(rw http.ResponseWriter) { _, _ = rw.Write([]byte("<html>")) })
		},
		"null": func(k *keeperHost, _ int) {
			answer(k, func(rw http.ResponseWriter) { _, _ = rw.Write([]byte("null")) })
		},
		"no share": func(k *keeperHost, _ int) { answer(k, func(rw http.ResponseWriter) { _, _ = rw.Write([]byte("{}")) }) },
		"zero": func(k *keeperHost, i int) {
			// No Keeper of ours would keep it, and so this one makes it up.
			tag, err := json.Marshal(k.held().Tag)
			if err != nil {
				w.t.Fatal(err)
			}
			zeros := "[" + strings.Repeat("0,", 31) + "0]"
			text := fmt.Sprintf(`{"instance":"i%d","shard":%s,"active":{"shard":%s,%s}`, i, zeros, zeros, tag[1:])
			answer(k, func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, text) })
		},
	}
}

// TestEveryFaultAtTwoOfFive: with 3 of 5 needed, two Keepers at fault change
// nothing, whichever they are, and both are named.
func TestEveryFaultAtTwoOfFive(t *testing.T) {
	for name := range faults(nil) {
		for first := range 5 {
			t.Run(fmt.Sprintf("%s/%d", name, first+1), func(t *testing.T) {
				t.Parallel()
				faultAt(t, name, first, (first+2)%5)
			})
		}
	}
}

func faultAt(t *testing.T, name string, bad ...int) {
	w := newWorld(t, 5, 3)
	n := w.start()
	n.init()
	n.put("p")
	n.stop()
	spoil := faults(w)[name]
	for _, i := range bad {
		spoil(w.keepers[i], i)
	}
	n = w.start()
	n.opens()
	n.has("p")
	if name == "empty" {
		return // it was filled before anybody could look
	}
	if name == "another's share" {
		// That share's tag has our signing key, so it is put right.
		w.eventually("the Keepers are put right", func() bool { return *n.status().Spare == 2 })
		return
	}
	for i, k := range n.status().Keepers {
		wrong := k.Holds != api.HoldsShare
		switch {
		case slices.Contains(bad, i):
			if !wrong || name != "404" && k.Detail == "" {
				t.Errorf("Keeper %d is not named: %+v", i+1, k)
			}
		case wrong:
			t.Errorf("Keeper %d is named: %+v", i+1, k)
		}
	}
}

// TestNobodyWaitsForAHungKeeper: two of five hang or drip, for as long as anybody
// would wait for them. Nexus opens all the same, and they are still at it.
func TestNobodyWaitsForAHungKeeper(t *testing.T) {
	for _, name := range []string{"hangs", "drips"} {
		for first := range 5 {
			t.Run(fmt.Sprintf("%s/%d", name, first+1), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 5, 3)
				n := w.start()
				n.init()
				n.put("p")
				n.stop()
				w.patience = time.Minute
				for _, i := range []int{first, (first + 1) % 5} {
					faults(w)[name](w.keepers[i], i)
				}
				n = w.start()
				n.opens()
				n.has("p")
			})
		}
	}
}

// TestEveryFaultAtThreeOfFive: one more, and there is no key. In particular there
// is not a wrong one.
func TestEveryFaultAtThreeOfFive(t *testing.T) {
	for name := range faults(nil) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 5, 3)
			n := w.start()
			n.init()
			n.stop()
			spoil := faults(w)[name]
			for i := range 3 {
				spoil(w.keepers[i], i)
			}
			w.start().staysLocked(300 * time.Millisecond)
		})
	}
}

// TestOneKeeperUnderTwoNames: all Keepers have other names than the store knows, and
// one has two. Its share counts once, and the next one is waited for.
func TestOneKeeperUnderTwoNames(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.put("p")
	n.stop()
	_, port, _ := strings.Cut(w.keepers[0].address, ":")
	once, twice := &keeperHost{address: "localhost:" + port}, &keeperHost{address: "LOCALHOST:" + port}
	_, port, _ = strings.Cut(w.keepers[1].address, ":")
	other := &keeperHost{address: "localhost:" + port}
	var asked atomic.Int32
	w.keepers[0].misbehave(func(http.ResponseWriter, *http.Request) bool {
		asked.Add(1)
		return false
	})
	// The other one answers when the first has answered under both names.
	w.keepers[1].misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		for asked.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		return false
	})
	w.patience = time.Minute
	n = w.startWith(w.disk, []*keeperHost{once, twice, other})
	n.opens()
	n.has("p")
}

func TestReorderedPeersChangeNothing(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.stop()
	w.keepers[0], w.keepers[2] = w.keepers[2], w.keepers[0]
	n = w.start()
	n.opens()
	for _, k := range n.status().Keepers {
		if k.Holds != api.HoldsShare {
			t.Errorf("Keeper %d: %+v", k.Index, k)
		}
	}
}

// spoiled is a store with a row too many.
type spoiled struct{ disk }

func (d spoiled) Load(ctx context.Context, row func(vault.Row) error) ([]byte, vault.State, error) {
	if row == nil {
		return d.disk.Load(ctx, nil)
	}
	last := vault.Row{}
	header, state, err := d.disk.Load(ctx, func(r vault.Row) error {
		last = r
		return row(r)
	})
	return header, state, errors.Join(err, row(last))
}

// TestDamagedStoreIsNotTheKeepers: a store that turns out to be damaged under the
// right root key is told as such, and nobody is sent to look after the Keepers.
func TestDamagedStoreIsNotTheKeepers(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.stop()
	log := w.journal()
	n = w.startWith(spoiled{*w.disk}, w.keepers)
	select {
	case <-n.vault.Failed():
	case <-time.After(20 * time.Second):
		t.Fatal("the damage was not found")
	}
	s := n.status()
	if s.State != api.StateFailed || s.Reason != "the store is damaged; Nexus's log says what was found; put a backup in its place" {
		t.Errorf("status: %+v", s)
	}
	n.stop()
	if lines := log.with("the Keepers did not give the root key"); len(lines) > 0 {
		t.Errorf("the log says %q", lines)
	}
}
