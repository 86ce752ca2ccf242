package keeper_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is a root key as far as a Keeper knows it: an id, a share and a signer.
type key struct {
	share   keeper.Share
	private ed25519.PrivateKey
}

// newKey makes the root key whose id is name repeated.
func newKey(name string) key {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte(name), ed25519.SeedSize))
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		panic("an Ed25519 key has an Ed25519 public key")
	}
	share := keeper.Share{
		Tag: keeper.Tag{
			Format: keeper.Format, Cluster: strings.Repeat("c", 32), KeyID: strings.Repeat(name, 32),
			Set: keeper.SetKeeper, Index: 2, Threshold: 2, Count: 3, PublicKey: public,
		},
	}
	for i := range share.Value {
		share.Value[i] = name[0] + byte(i)
	}
	return key{share, private}
}

func (k key) sign(message []byte) ([]byte, error) { return ed25519.Sign(k.private, message), nil }

func (k key) id() string { return k.share.Tag.KeyID }

func (k key) anchor(epoch, sequence uint64, mac byte) keeper.Anchor {
	a := keeper.Anchor{Cluster: k.share.Tag.Cluster, Epoch: epoch, Sequence: sequence, MAC: bytes.Repeat([]byte{mac}, 32)}
	a.Signature = ed25519.Sign(k.private, keeper.AnchorMessage(a))
	return a
}

func newHolder(t *testing.T) *keeper.Holder {
	h := keeper.NewHolder(slog.New(slog.DiscardHandler))
	t.Cleanup(h.Close)
	return h
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// state describes the slots by the first letter of their key's id.
func state(t *testing.T, h *keeper.Holder) string {
	t.Helper()
	held, err := h.Held()
	do(t, err)
	describe := func(s *keeper.Share) string {
		if s == nil {
			return "-"
		}
		name := s.Tag.KeyID[:1]
		if want := newKey(name).share; s.Value != want.Value || !bytes.Equal(s.Tag.PublicKey, want.Tag.PublicKey) {
			t.Errorf("the share of key %s is not what was put there", name)
		}
		return name
	}
	return describe(held.Active) + describe(held.Pending)
}

// TestSlots goes through every state of the slots, every operation and every
// kind of signature. A state is two letters: active slot, pending slot.
func TestSlots(t *testing.T) {
	a, b := newKey("a"), newKey("b")
	other := newHolder(t)
	type operation struct {
		message func(instance string) []byte
		apply   func(h *keeper.Holder, signature []byte) error
	}
	contribute := func(k key) operation {
		return operation{
			func(instance string) []byte { return keeper.ContributeMessage(instance, &k.share) },
			func(h *keeper.Holder, signature []byte) error { return h.Contribute(&k.share, signature) },
		}
	}
	promote := func(k key) operation {
		return operation{
			func(instance string) []byte { return keeper.PromoteMessage(instance, k.id()) },
			func(h *keeper.Holder, signature []byte) error { return h.Promote(k.id(), signature) },
		}
	}
	operations := map[string]operation{
		"contribute a": contribute(a), "contribute b": contribute(b), "promote a": promote(a), "promote b": promote(b),
		"erase": {
			func(instance string) []byte { return keeper.EraseMessage(instance, &a.share.Tag) },
			func(h *keeper.Holder, signature []byte) error { return h.Erase(signature) },
		},
	}
	signatures := map[string]func(operation, *keeper.Holder) []byte{
		"good":               func(o operation, h *keeper.Holder) []byte { return ed25519.Sign(a.private, o.message(h.Instance())) },
		"absent":             func(operation, *keeper.Holder) []byte { return nil },
		"by the pending key": func(o operation, h *keeper.Holder) []byte { return ed25519.Sign(b.private, o.message(h.Instance())) },
		"for another Keeper": func(o operation, _ *keeper.Holder) []byte {
			return ed25519.Sign(a.private, o.message(other.Instance()))
		},
		"for no Keeper": func(o operation, _ *keeper.Holder) []byte { return ed25519.Sign(a.private, o.message("")) },
		"for another operation": func(_ operation, h *keeper.Holder) []byte {
			return ed25519.Sign(a.private, keeper.PromoteMessage(h.Instance(), strings.Repeat("e", 32)))
		},
		"for an anchor":     func(operation, *keeper.Holder) []byte { return a.anchor(1, 1, 1).Signature },
		"of a wrong length": func(operation, *keeper.Holder) []byte { return []byte{1, 2, 3} },
		"good, with a byte after it": func(o operation, h *keeper.Holder) []byte {
			return append(ed25519.Sign(a.private, o.message(h.Instance())), 0)
		},
	}
	// free: the outcome does not depend on the signature.
	cases := []struct {
		from, operation string
		free            bool
		to              string
		err             error // with a good signature
	}{
		{"--", "contribute a", true, "-a", nil},
		{"--", "contribute b", true, "-b", nil},
		{"--", "promote a", true, "--", keeper.ErrNotPending},
		{"--", "promote b", true, "--", keeper.ErrNotPending},
		{"--", "erase", true, "--", nil},
		{"-b", "contribute a", true, "-a", nil},
		{"-b", "contribute b", true, "-b", nil},
		{"-b", "promote a", true, "-b", keeper.ErrNotPending},
		{"-b", "promote b", true, "b-", nil},
		{"-b", "erase", true, "--", nil},
		{"a-", "contribute a", true, "a-", nil},
		{"a-", "contribute b", false, "ab", nil},
		{"a-", "promote a", true, "a-", nil},
		{"a-", "promote b", false, "a-", keeper.ErrNotPending},
		{"a-", "erase", false, "--", nil},
		{"ab", "contribute a", true, "ab", nil},
		{"ab", "contribute b", false, "ab", nil},
		{"ab", "promote a", true, "ab", nil},
		{"ab", "promote b", false, "b-", nil},
		{"ab", "erase", false, "--", nil},
	}
	for _, c := range cases {
		for kind, signature := range signatures {
			t.Run(fmt.Sprintf("%s/%s/%s", c.from, c.operation, kind), func(t *testing.T) {
				h := newHolder(t)
				if c.from[0] == 'a' {
					do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil))
				}
				if c.from[1] == 'b' {
					good := ed25519.Sign(a.private, keeper.ContributeMessage(h.Instance(), &b.share))
					do(t, h.Contribute(&b.share, good))
				}
				o := operations[c.operation]
				err := o.apply(h, signature(o, h))
				want, to := c.err, c.to
				if !c.free && kind != "good" {
					to, want = c.from, keeper.ErrSignature
					if kind == "absent" {
						want = keeper.ErrHoldsShare
					}
				}
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				if kind == "absent" && errors.Is(err, keeper.ErrSignature) {
					t.Errorf("got %v without a signature", err)
				}
				if got := state(t, h); got != to {
					t.Errorf("from %s to %s, want %s", c.from, got, to)
				}
			})
		}
	}
}

// TestReplay sends signatures that were good once.
func TestReplay(t *testing.T) {
	a, b, d := newKey("a"), newKey("b"), newKey("d")
	h := newHolder(t)
	do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil))
	contribute := ed25519.Sign(a.private, keeper.ContributeMessage(h.Instance(), &b.share))
	promote := ed25519.Sign(a.private, keeper.PromoteMessage(h.Instance(), b.id()))
	backwards := ed25519.Sign(b.private, keeper.ContributeMessage(h.Instance(), &a.share))
	do(t, h.Contribute(&b.share, contribute), h.Promote(b.id(), promote))
	// Doing it twice is doing it once.
	do(t, h.Contribute(&b.share, contribute), h.Promote(b.id(), promote))
	if got := state(t, h); got != "b-" {
		t.Errorf("got %s", got)
	}
	do(t, h.Contribute(&a.share, backwards))
	// What key a allowed ended with key a.
	if err := h.Contribute(&d.share, contribute); !errors.Is(err, keeper.ErrSignature) {
		t.Errorf("got %v", err)
	}
	if err := h.Erase(ed25519.Sign(a.private, keeper.EraseMessage(h.Instance(), &a.share.Tag))); !errors.Is(err, keeper.ErrSignature) {
		t.Errorf("got %v", err)
	}
}

// TestEraseIsOfOneShare: a signature to erase is good once, for the share that it
// names, and for nothing that the Keeper came to hold instead.
func TestEraseIsOfOneShare(t *testing.T) {
	a := newKey("a")
	second := a.share
	second.Tag.Index++
	h := newHolder(t)
	do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil))
	before := h.Instance()
	erase := ed25519.Sign(a.private, keeper.EraseMessage(before, &a.share.Tag))
	wrong := ed25519.Sign(a.private, keeper.EraseMessage(before, &second.Tag))
	if err := h.Erase(wrong); !errors.Is(err, keeper.ErrSignature) || state(t, h) != "a-" {
		t.Errorf("for another index: %v, %s", err, state(t, h))
	}
	// A request that was sent twice is no mistake.
	do(t, h.Erase(erase), h.Erase(erase))
	if state(t, h) != "--" || h.Instance() == before {
		t.Errorf("after an erase it is %s, and %s as before", state(t, h), h.Instance())
	}
	do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil))
	if err := h.Erase(erase); !errors.Is(err, keeper.ErrSignature) || state(t, h) != "a-" {
		t.Errorf("once more, after it was filled again: %v, %s", err, state(t, h))
	}
}

func TestAlteredShareIsNotTheActiveOne(t *testing.T) {
	a := newKey("a")
	h := newHolder(t)
	do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil))
	changes := map[string]func(*keeper.Share){
		"value":      func(s *keeper.Share) { s.Value[31] ^= 1 },
		"cluster":    func(s *keeper.Share) { s.Tag.Cluster = strings.Repeat("d", 32) },
		"key id":     func(s *keeper.Share) { s.Tag.KeyID = strings.Repeat("d", 32) },
		"index":      func(s *keeper.Share) { s.Tag.Index = 3 },
		"threshold":  func(s *keeper.Share) { s.Tag.Threshold = 1 },
		"count":      func(s *keeper.Share) { s.Tag.Count = 4 },
		"public key": func(s *keeper.Share) { s.Tag.PublicKey = newKey("b").share.Tag.PublicKey },
	}
	for name, change := range changes {
		s := a.share
		change(&s)
		if err := h.Contribute(&s, nil); !errors.Is(err, keeper.ErrHoldsShare) {
			t.Errorf("another %s: got %v", name, err)
		}
		// A signature covers all of it.
		signature := ed25519.Sign(a.private, keeper.ContributeMessage(h.Instance(), &a.share))
		if err := h.Contribute(&s, signature); !errors.Is(err, keeper.ErrSignature) {
			t.Errorf("another %s, with the signature for the first: got %v", name, err)
		}
	}
	if got := state(t, h); got != "a-" {
		t.Errorf("got %s", got)
	}
}

func TestMalformedShares(t *testing.T) {
	h := newHolder(t)
	for name, change := range map[string]func(*keeper.Share){
		"zero value":           func(s *keeper.Share) { s.Value = shard.Value{} },
		"format 0":             func(s *keeper.Share) { s.Tag.Format = 0 },
		"format 2":             func(s *keeper.Share) { s.Tag.Format = 2 },
		"no cluster":           func(s *keeper.Share) { s.Tag.Cluster = "" },
		"short cluster":        func(s *keeper.Share) { s.Tag.Cluster = s.Tag.Cluster[1:] },
		"upper-case cluster":   func(s *keeper.Share) { s.Tag.Cluster = strings.ToUpper(s.Tag.Cluster) },
		"cluster not hex":      func(s *keeper.Share) { s.Tag.Cluster = strings.Repeat("g", 32) },
		"hex around something": func(s *keeper.Share) { s.Tag.Cluster = "c" + strings.Repeat("/", 30) + "c" },
		"long key id":          func(s *keeper.Share) { s.Tag.KeyID += "a" },
		"paper":                func(s *keeper.Share) { s.Tag.Set = keeper.SetPaper },
		"no set":               func(s *keeper.Share) { s.Tag.Set = "" },
		"index 0":              func(s *keeper.Share) { s.Tag.Index = 0 },
		"index over count":     func(s *keeper.Share) { s.Tag.Index = 4 },
		"threshold 0":          func(s *keeper.Share) { s.Tag.Threshold = 0 },
		"threshold over count": func(s *keeper.Share) { s.Tag.Threshold = 4 },
		"count 256":            func(s *keeper.Share) { s.Tag.Count = 256 },
		"count negative":       func(s *keeper.Share) { s.Tag.Count = -1 },
		"no public key":        func(s *keeper.Share) { s.Tag.PublicKey = nil },
		"long public key":      func(s *keeper.Share) { s.Tag.PublicKey = make([]byte, 33) },
	} {
		s := newKey("a").share
		change(&s)
		if err := h.Contribute(&s, nil); !errors.Is(err, keeper.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := state(t, h); got != "--" {
		t.Errorf("got %s", got)
	}
}

func TestAnchor(t *testing.T) {
	a, b := newKey("a"), newKey("b")
	foreign := newKey("f")
	foreign.share.Tag.Cluster = strings.Repeat("d", 32)
	h := newHolder(t)
	if err := h.SetAnchor(a.anchor(1, 1, 1)); !errors.Is(err, keeper.ErrNoShare) {
		t.Errorf("empty Keeper: got %v", err)
	}
	do(t, h.Contribute(&a.share, nil))
	if err := h.SetAnchor(a.anchor(1, 1, 1)); !errors.Is(err, keeper.ErrNoShare) {
		t.Errorf("pending share alone: got %v", err)
	}
	do(t, h.Promote(a.id(), nil))

	unsigned, swapped, cut := a.anchor(9, 9, 9), a.anchor(9, 9, 9), a.anchor(9, 9, 9)
	unsigned.Signature = make([]byte, 64)
	swapped.Epoch, swapped.Sequence = 10, 8
	cut.MAC = cut.MAC[:31]
	steps := []struct {
		name   string
		anchor keeper.Anchor
		err    error
		at     [2]uint64
	}{
		{"first", a.anchor(1, 5, 1), nil, [2]uint64{1, 5}},
		{"the same", a.anchor(1, 5, 1), nil, [2]uint64{1, 5}},
		{"another MAC at its place", a.anchor(1, 5, 2), keeper.ErrAnchorConflict, [2]uint64{1, 5}},
		{"behind", a.anchor(1, 4, 2), nil, [2]uint64{1, 5}},
		{"ahead", a.anchor(1, 6, 2), nil, [2]uint64{1, 6}},
		{"next epoch, lower sequence", a.anchor(2, 3, 3), nil, [2]uint64{2, 3}},
		{"epoch before, higher sequence", a.anchor(1, 9, 3), nil, [2]uint64{2, 3}},
		{"by another key", b.anchor(9, 9, 9), keeper.ErrSignature, [2]uint64{2, 3}},
		{"zero signature", unsigned, keeper.ErrSignature, [2]uint64{2, 3}},
		{"signature of another place", swapped, keeper.ErrSignature, [2]uint64{2, 3}},
		{"cut MAC", cut, keeper.ErrInvalid, [2]uint64{2, 3}},
		{"of another cluster", foreign.anchor(9, 9, 9), keeper.ErrForeign, [2]uint64{2, 3}},
		{"nothing", keeper.Anchor{}, keeper.ErrInvalid, [2]uint64{2, 3}},
		{"the last there is", a.anchor(1<<64-1, 1<<64-1, 4), nil, [2]uint64{1<<64 - 1, 1<<64 - 1}},
	}
	for _, s := range steps {
		if err := h.SetAnchor(s.anchor); !errors.Is(err, s.err) {
			t.Errorf("%s: got %v, want %v", s.name, err, s.err)
		}
		held, err := h.Held()
		do(t, err)
		if got := [2]uint64{held.Anchor.Epoch, held.Anchor.Sequence}; got != s.at {
			t.Errorf("%s: anchor at %v, want %v", s.name, got, s.at)
		}
	}
}

// TestAnchorAndPromote: the anchor outlives the root key, but not the cluster.
func TestAnchorAndPromote(t *testing.T) {
	a, b, foreign := newKey("a"), newKey("b"), newKey("f")
	foreign.share.Tag.Cluster = strings.Repeat("d", 32)
	h := newHolder(t)
	replace := func(by, with key) {
		t.Helper()
		do(t, h.Contribute(&with.share, ed25519.Sign(by.private, keeper.ContributeMessage(h.Instance(), &with.share))),
			h.Promote(with.id(), ed25519.Sign(by.private, keeper.PromoteMessage(h.Instance(), with.id()))))
	}
	do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil), h.SetAnchor(a.anchor(1, 5, 1)))
	replace(a, b)
	held, err := h.Held()
	do(t, err)
	if held.Anchor == nil || held.Anchor.Sequence != 5 {
		t.Errorf("after a change of the root key: %v", held.Anchor)
	}
	do(t, h.SetAnchor(b.anchor(1, 6, 1)))
	if err := h.SetAnchor(a.anchor(1, 7, 1)); !errors.Is(err, keeper.ErrSignature) {
		t.Errorf("by the former root key: %v", err)
	}
	replace(b, foreign)
	held, err = h.Held()
	do(t, err)
	if held.Anchor != nil {
		t.Errorf("after a change of the cluster: %v", held.Anchor)
	}
	do(t, h.SetAnchor(foreign.anchor(0, 1, 1)), h.Erase(ed25519.Sign(foreign.private, keeper.EraseMessage(h.Instance(), &foreign.share.Tag))))
	held, err = h.Held()
	do(t, err)
	if held.Anchor != nil || held.Active != nil {
		t.Errorf("after an erase: %v", held)
	}
}

// TestHeldIsACopy: what a caller does with what it got changes nothing.
func TestHeldIsACopy(t *testing.T) {
	a := newKey("a")
	h := newHolder(t)
	given := a.share
	given.Tag.PublicKey = bytes.Clone(given.Tag.PublicKey)
	do(t, h.Contribute(&given, nil))
	if given.Value != a.share.Value {
		t.Error("the caller's share was changed")
	}
	clear(given.Value[:])
	clear(given.Tag.PublicKey)
	held, err := h.Held()
	do(t, err)
	clear(held.Pending.Tag.PublicKey)
	held.Wipe()
	if held.Pending.Value != (shard.Value{}) {
		t.Error("not wiped")
	}
	if got := state(t, h); got != "-a" {
		t.Errorf("got %s", got)
	}
}

func TestClosedHolder(t *testing.T) {
	a := newKey("a")
	h := newHolder(t)
	do(t, h.Contribute(&a.share, nil), h.Promote(a.id(), nil))
	h.Close()
	h.Close()
	_, err := h.Held()
	for name, err := range map[string]error{
		"held": err, "contribute": h.Contribute(&a.share, nil), "promote": h.Promote(a.id(), nil),
		"erase": h.Erase(nil), "anchor": h.SetAnchor(a.anchor(1, 1, 1)),
	} {
		if !errors.Is(err, keeper.ErrFault) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestMessagesDiffer: no two things that can be asked for have one message.
func TestMessagesDiffer(t *testing.T) {
	a, b := newKey("a").share, newKey("b").share
	shifted := keeper.AnchorMessage(keeper.Anchor{Cluster: "c", Epoch: 1, Sequence: 2, MAC: []byte{3}})
	messages := map[string]string{}
	for name, m := range map[string][]byte{
		"contribute a": keeper.ContributeMessage("i", &a), "contribute b": keeper.ContributeMessage("i", &b),
		"contribute a, j": keeper.ContributeMessage("j", &a), "promote": keeper.PromoteMessage("i", "k"),
		"promote, shifted": keeper.PromoteMessage("ik", ""), "promote, shifted back": keeper.PromoteMessage("", "ik"),
		"erase": keeper.EraseMessage("i", &a.Tag), "erase j": keeper.EraseMessage("j", &a.Tag), "erase b": keeper.EraseMessage("i", &b.Tag),
		"erase another index": keeper.EraseMessage("i", &keeper.Tag{KeyID: a.Tag.KeyID, Index: a.Tag.Index + 1}), "anchor": shifted,
		"anchor, swapped": keeper.AnchorMessage(keeper.Anchor{Cluster: "c", Epoch: 2, Sequence: 1, MAC: []byte{3}}),
	} {
		if before, ok := messages[string(m)]; ok {
			t.Errorf("%s and %s have one message", name, before)
		}
		messages[string(m)] = name
	}
	if first, second := newHolder(t), newHolder(t); first.Instance() == second.Instance() {
		t.Error("two Keepers are one instance")
	}
}
