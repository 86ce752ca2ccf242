package vault

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
)

// ReplaceKeepers says in the header where Keepers are from now on: URLs by the
// indexes of their shares, which stay what they are. ready is asked for each of
// them before anything is changed. It returns the new header, and api.ErrBadRequest
// for an index that there is not or a URL that would stand there twice.
func (v *Vault) ReplaceKeepers(ctx context.Context, caller Caller, urls map[int]string,
	ready func(index int, url string) error) (*Header, error) {
	r, err := v.beginOperator(ctx, caller, decision.OperatorKeeper)
	if err != nil {
		return nil, err
	}
	h, err := v.replaceKeepers(ctx, r, urls, ready)
	if err = r.done(ctx, err); err != nil {
		return nil, err
	}
	v.log.Warn("Keepers were replaced", "caller", caller.ID, "keepers", h.URLs())
	return h, nil
}

func (v *Vault) replaceKeepers(ctx context.Context, r *request, urls map[int]string, ready func(int, string) error) (*Header, error) {
	if len(urls) == 0 {
		return nil, fmt.Errorf("%w: no Keeper is named", api.ErrBadRequest)
	}
	if _, err := v.Header().moved(urls); err != nil {
		return nil, err
	}
	for _, index := range slices.Sorted(maps.Keys(urls)) {
		if err := ready(index, urls[index]); err != nil {
			return nil, err
		}
	}
	var next *Header
	err := v.change(ctx, r, 0, func(t *tx) (err error) {
		// The committer alone changes the header, and this is the committer.
		from := t.header
		if from == nil {
			from = v.Header()
		}
		if next, err = from.moved(urls); err == nil && !slices.Equal(next.URLs(), from.URLs()) {
			t.header = next
		}
		return err
	})
	return next, err
}

// moved returns a header like h, with Keepers at other URLs.
func (h *Header) moved(urls map[int]string) (*Header, error) {
	next := *h
	next.Keepers = slices.Clone(h.Keepers)
	for index, url := range urls {
		if index < 1 || index > len(next.Keepers) {
			return nil, fmt.Errorf("%w: there is no Keeper %d", api.ErrBadRequest, index)
		}
		next.Keepers[index-1].URL = url
	}
	if err := next.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	return &next, nil
}

// URLs returns where the Keepers are, by the indexes of their shares.
func (h *Header) URLs() []string {
	list := make([]string, len(h.Keepers))
	for i, k := range h.Keepers {
		list[i] = k.URL
	}
	return list
}

func (v *Vault) setHeader(h *Header) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.header = h
}
