package keeper

import (
	"errors"

	"github.com/spiffe/spike/internal/shard"
)

// request is the decoded body of a request.
type request interface {
	// complete says whether every field that the route needs is right.
	complete() error
	// apply returns the answer's body; none stands for the empty object, or for
	// the error's code alone.
	apply(h *Holder) (answer []byte, err error)
	wipe()
}

// newRequest returns what a route's body is decoded into, or nil.
func newRequest(path string) request {
	switch path {
	case PathContribute:
		return &contributeRequest{}
	case PathShard:
		return &shardRequest{}
	case PathPromote:
		return &promoteRequest{}
	case PathErase:
		return &eraseRequest{}
	case PathAnchor:
		return &anchorRequest{}
	}
	return nil
}

type contributeRequest struct {
	Shard *shard.Value `json:"shard"`
	Tag
	Signature []byte `json:"signature"`
}

// complete refuses, among others, a share without a tag, as Nexus once sent
// them: it could never be checked.
func (r *contributeRequest) complete() error {
	if r.Shard == nil {
		return errors.New("the shard is missing")
	}
	share := Share{Tag: r.Tag, Value: *r.Shard}
	defer clear(share.Value[:])
	return share.Validate()
}

func (r *contributeRequest) apply(h *Holder) ([]byte, error) {
	share := Share{Tag: r.Tag, Value: *r.Shard}
	defer clear(share.Value[:])
	return nil, h.Contribute(&share, r.Signature)
}

func (r *contributeRequest) wipe() {
	if r.Shard != nil {
		clear(r.Shard[:])
	}
}

type shardRequest struct{}

func (*shardRequest) complete() error { return nil }

func (*shardRequest) apply(h *Holder) ([]byte, error) {
	held, err := h.Held()
	defer held.Wipe()
	if err != nil {
		return nil, err
	}
	answer, err := encodeHeld(&held)
	if err == nil && held.Active == nil && held.Pending == nil {
		err = errEmpty
	}
	return answer, err
}

func (*shardRequest) wipe() {}

type promoteRequest struct {
	KeyID     string `json:"keyId"`
	Signature []byte `json:"signature"`
}

func (r *promoteRequest) complete() error {
	if !hexID(r.KeyID) {
		return errors.New("the key id is not 32 lower-case hex digits")
	}
	return nil
}

func (r *promoteRequest) apply(h *Holder) ([]byte, error) {
	return nil, h.Promote(r.KeyID, r.Signature)
}

func (*promoteRequest) wipe() {}

type eraseRequest struct {
	Signature []byte `json:"signature"`
}

func (*eraseRequest) complete() error { return nil }

func (r *eraseRequest) apply(h *Holder) ([]byte, error) { return nil, h.Erase(r.Signature) }

func (*eraseRequest) wipe() {}

type anchorRequest struct{ Anchor }

func (r *anchorRequest) complete() error { return r.Validate() }

func (r *anchorRequest) apply(h *Holder) ([]byte, error) { return nil, h.SetAnchor(r.Anchor) }

func (*anchorRequest) wipe() {}
