package rootkey_test

import (
	"testing"
	"time"

	"github.com/spiffe/spike/internal/api"
)

// TestRestartedKeeperGetsItsShareBack: the very one, soon, and without anybody
// asking for status.
func TestRestartedKeeperGetsItsShareBack(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	for i, k := range w.keepers {
		before := k.held().Value
		k.down()
		time.Sleep(50 * time.Millisecond)
		k.up()
		w.eventually("it is filled", func() bool { return k.held() != nil })
		if k.held().Value != before {
			t.Errorf("Keeper %d got another share", i+1)
		}
	}
}

func TestAllKeepersRestartedAtOnce(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.put("p")
	for _, k := range w.keepers {
		k.down()
	}
	s := n.status()
	if s.State != api.StateOpen || *s.Spare != -2 {
		t.Errorf("status: %+v", s)
	}
	n.has("p")
	for _, k := range w.keepers {
		k.up()
	}
	w.eventually("all are filled", func() bool { return *n.status().Spare == 1 })
	n.stop()
	n = w.start()
	n.opens()
	n.has("p")
}

// TestCorruptShareIsPutRight: a Keeper whose share was spoiled, but not the signing
// key in its tag, gets the right share again.
func TestCorruptShareIsPutRight(t *testing.T) {
	w := newWorld(t, 3, 2)
	n := w.start()
	n.init()
	n.stop()
	k := w.keepers[0]
	good := *k.held()
	spoiled := good
	spoiled.Value[3] ^= 1
	k.down()
	k.up()
	if err := k.holder.Contribute(&spoiled, nil); err != nil {
		t.Fatal(err)
	}
	if err := k.holder.Promote(spoiled.Tag.KeyID, nil); err != nil {
		t.Fatal(err)
	}
	w.start().opens()
	w.eventually("the share is put right", func() bool { return k.held().Value == good.Value })
}
