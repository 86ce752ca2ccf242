package keeper

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/shard"
)

// A Keeper's routes.
const (
	PathContribute = "/v1/store/contribute"
	PathShard      = "/v1/store/shard"
	PathPromote    = "/v1/store/promote"
	PathErase      = "/v1/store/erase"
	PathAnchor     = "/v1/store/anchor"
)

// maxBody is the largest body either end reads; the longest that either writes
// has about 2 KiB.
const maxBody = 64 << 10

// A share leaves and arrives in buffers that are wiped. Encoding goes by hand
// where a share is in the body, since encoding/json would leave it behind in
// buffers that it keeps for later.

// heldShare is one slot in the answer to PathShard.
type heldShare struct {
	Shard *shard.Value `json:"shard"`
	Tag
}

// heldAnswer answers PathShard. Shard is for clients that know no slots: the
// active share, or the pending one if there is no active one.
type heldAnswer struct {
	Shard    *shard.Value `json:"shard"`
	Instance string       `json:"instance"`
	Active   *heldShare   `json:"active"`
	Pending  *heldShare   `json:"pending"`
	Anchor   *Anchor      `json:"anchor"`
	Err      api.Code     `json:"err"`
}

func encodeContribute(share *Share, signature []byte) ([]byte, error) {
	out, err := appendShare(make([]byte, 0, 2<<10), share)
	if err != nil {
		return nil, err
	}
	out = append(out[:len(out)-1], `,"signature":"`...)
	out = base64.StdEncoding.AppendEncode(out, signature)
	return append(out, `"}`...), nil
}

// encodeHeld writes the answer of a Keeper that holds h; an empty one's has the
// code that goes with it.
func encodeHeld(h *Held) ([]byte, error) {
	instance, err := json.Marshal(h.Instance)
	if err != nil {
		return nil, fmt.Errorf("encode instance: %w", err)
	}
	out := append(append(make([]byte, 0, 4<<10), `{"instance":`...), instance...)
	first := h.Active
	if first == nil {
		first = h.Pending
	}
	if first == nil {
		_, code := toWire(errEmpty)
		return fmt.Appendf(out, `,"shard":null,"err":%q}`, code), nil
	}
	if out, err = appendValue(append(out, `,"shard":`...), &first.Value); err != nil {
		return nil, err
	}
	if h.Active != nil {
		if out, err = appendShare(append(out, `,"active":`...), h.Active); err != nil {
			return nil, err
		}
	}
	if h.Pending != nil {
		if out, err = appendShare(append(out, `,"pending":`...), h.Pending); err != nil {
			return nil, err
		}
	}
	if h.Anchor != nil {
		anchor, err := json.Marshal(h.Anchor)
		if err != nil {
			return nil, fmt.Errorf("encode anchor: %w", err)
		}
		out = append(append(out, `,"anchor":`...), anchor...)
	}
	return append(out, '}'), nil
}

// encodeError writes a route's answer with every field at its zero value.
func encodeError(path string, code api.Code) []byte {
	if path == PathShard {
		return fmt.Appendf(nil, `{"shard":null,"err":%q}`, code)
	}
	return fmt.Appendf(nil, `{"err":%q}`, code)
}

// appendShare writes a share as one object: its value and the tag's fields.
func appendShare(out []byte, share *Share) ([]byte, error) {
	tag, err := json.Marshal(&share.Tag)
	if err != nil {
		return nil, fmt.Errorf("encode tag: %w", err)
	}
	out, err = appendValue(append(out, `{"shard":`...), &share.Value)
	if err != nil {
		return nil, err
	}
	return append(append(out, ','), tag[1:]...), nil
}

func appendValue(out []byte, v *shard.Value) ([]byte, error) {
	numbers, err := v.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode share: %w", err)
	}
	defer clear(numbers)
	return append(out, numbers...), nil
}

// decodeHeld reads the answer to PathShard, an empty Keeper's included.
func decodeHeld(body []byte) (Held, error) {
	var answer heldAnswer
	if err := decode(body, &answer); err != nil {
		return Held{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if answer.Shard != nil {
		clear(answer.Shard[:])
	}
	if n := len(answer.Instance); n == 0 || n > 64 {
		return Held{}, fmt.Errorf("%w: it does not name its instance", ErrProtocol)
	}
	held := Held{Instance: answer.Instance, Active: answer.Active.share(), Pending: answer.Pending.share(),
		Anchor: answer.Anchor}
	if err := held.check(answer.Err != ""); err != nil {
		held.Wipe()
		return Held{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return held, nil
}

// check refuses what no Keeper of ours would say. Above all, one that has a
// share but knows no slots must not pass for an empty one.
func (h *Held) check(empty bool) error {
	if empty != (h.Active == nil && h.Pending == nil) {
		return errors.New("its slots and its status contradict each other")
	}
	if h.Active != nil {
		if err := h.Active.Validate(); err != nil {
			return fmt.Errorf("active share: %w", err)
		}
	}
	if h.Pending != nil {
		if err := h.Pending.Validate(); err != nil {
			return fmt.Errorf("pending share: %w", err)
		}
	}
	if h.Anchor != nil {
		if err := h.Anchor.Validate(); err != nil {
			return fmt.Errorf("anchor: %w", err)
		}
	}
	return nil
}

// share moves the value out of what was decoded. A missing one becomes the zero
// value, which no share has.
func (s *heldShare) share() *Share {
	if s == nil {
		return nil
	}
	share := &Share{Tag: s.Tag}
	if s.Shard != nil {
		share.Value = *s.Shard
		clear(s.Shard[:])
	}
	return share
}

var errTooLong = fmt.Errorf("the body has more than %d bytes", maxBody)

// readBody reads a body of at most maxBody bytes into a buffer that the caller
// wipes. A size of -1 is one that was not announced.
func readBody(body io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		size = maxBody
	}
	if size > maxBody {
		return nil, errTooLong
	}
	// One byte more than is welcome shows a body that is too long. The buffer
	// never grows, since growing would leave a copy behind.
	buf := make([]byte, size+1)
	for n := 0; ; {
		m, err := body.Read(buf[n:])
		n += m
		switch {
		case n == len(buf):
			err = errTooLong
		case errors.Is(err, io.EOF):
			return buf[:n], nil
		}
		if err != nil {
			clear(buf)
			return nil, err
		}
	}
}

// decode reads one JSON object and nothing after it.
func decode(body []byte, into any) error {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("the body is not a JSON object")
	}
	if err := json.Unmarshal(body, into); err != nil {
		// What encoding/json says can repeat a part of the body.
		return errors.New("the body is not the JSON that this route has")
	}
	return nil
}
