package rootkey

import (
	"context"
	"fmt"
	"slices"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/config"
	"github.com/spiffe/spike/internal/keeper"
)

// Replace says where Keepers are from now on, and fills them. It is refused, and
// nothing changed, unless each of them answers and holds nothing, or the very
// share that is to be there: a mistyped URL is told at once. Then those that were
// replaced are erased, and the answer says how that went.
//
// At no point are there fewer Keepers than before from which a restarted Nexus
// could recover. A new one has its share, pending, before the header names it;
// and the old one has it until the new one's is active.
func (m *Manager) Replace(ctx context.Context, caller vault.Caller, req *api.OperatorKeeperRequest) (api.OperatorKeeperResponse, error) {
	p := &replacement{m: m, urls: normal(req.Replace)}
	h, err := m.vault.ReplaceKeepers(ctx, caller, p.urls, func(index int, url string) error {
		return p.ready(ctx, index, url)
	})
	left := p.end(ctx)
	if err != nil {
		return api.OperatorKeeperResponse{}, err
	}
	return api.OperatorKeeperResponse{Keepers: h.URLs(), Replaced: m.outcomes(ctx, left)}, nil
}

// normal writes URLs as settings are: the same one is never two texts. What is no
// URL is left, to be refused.
func normal(urls map[int]string) map[int]string {
	clean := make(map[int]string, len(urls))
	for index, text := range urls {
		clean[index] = text
		if u, err := config.ParseURL(text); err == nil {
			clean[index] = u.String()
		}
	}
	return clean
}

// replacement is a change of Keepers under way.
type replacement struct {
	m      *Manager
	urls   map[int]string
	before *vault.Header  // nil until the first Keeper was named
	by     map[string]int // which Keeper an instance is, as far as it was seen
	named  []*named       // those that come
}

// named is a Keeper that is to have a share.
type named struct {
	index    int
	client   *keeper.Client
	instance string
	given    bool // its share, by us
}

// begin waits until no other replacement, nor what follows on one, is under way.
func (p *replacement) begin(ctx context.Context) error {
	if p.before != nil {
		return nil
	}
	select {
	case <-p.m.replacing:
	case <-ctx.Done():
		return fmt.Errorf("another replacement is under way: %w", ctx.Err())
	}
	p.before, p.by = p.m.vault.Header(), map[string]int{}
	p.m.lookAtAll(ctx)
	if p.m.vault.State() != api.StateOpen {
		return api.ErrNotReady // one of them remembers more than the store has
	}
	for i, url := range p.before.URLs() {
		if _, changes := p.urls[i+1]; !changes {
			p.by[p.m.instanceAt(url)] = i + 1
		}
	}
	return nil
}

// ready returns an error unless the Keeper at a URL is fit for the share of that
// index, which it then has, pending.
func (p *replacement) ready(ctx context.Context, index int, text string) error {
	m := p.m
	if !m.config.HasRootKey {
		return api.ErrNoRootKeyBackend
	}
	u, err := config.ParseURL(text)
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	k := m.at(u.String())
	if k == nil {
		k = m.config.NewKeeper(u)
	}
	held, s, err := m.look(ctx, index, k)
	defer held.Wipe()
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrKeeperUnreachable, err)
	}
	if held.Active != nil && s.holds != api.HoldsShare {
		return fmt.Errorf("%w: %s: %s", api.ErrKeeperHoldsShare, text, s.detail)
	}
	// Two indexes at one process, under two names, would take each other's share.
	if other, known := p.by[held.Instance]; known && other != index {
		return fmt.Errorf("%w: %s is Keeper %d under another name", api.ErrBadRequest, text, other)
	}
	p.by[held.Instance] = index
	n := &named{index: index, client: k, instance: held.Instance}
	p.named = append(p.named, n)
	if held.Active != nil {
		return nil
	}
	return p.give(ctx, n)
}

// give gives a Keeper its share, pending, and reads it back.
func (p *replacement) give(ctx context.Context, n *named) error {
	n.given = true
	if err := p.m.contribute(ctx, p.before, n.index, n.client, n.instance, nil); err != nil {
		return refused(err)
	}
	held, err := n.client.Held(ctx)
	defer held.Wipe()
	if err != nil {
		return refused(err)
	}
	if fitting(p.before, n.index, &held) == nil {
		return fmt.Errorf("%w: %s does not give back the share that it was given", api.ErrKeeperUnreachable, n.client.URL())
	}
	failpoint.Hit("replace.contributed")
	return nil
}

// end has the manager go by what the header says now, whatever became of the
// replacement, and returns those whose place was taken. A share that was given
// for nothing is taken back.
func (p *replacement) end(ctx context.Context) []*retired {
	if p.before == nil {
		return nil
	}
	defer func() { p.m.replacing <- struct{}{} }()
	urls := p.m.vault.Header().URLs()
	for _, n := range p.named {
		if urls[n.index-1] == n.client.URL().String() {
			p.m.add(n.client)
		} else if n.given && p.m.vault.Failure() == nil {
			p.takeBack(ctx, n)
		}
	}
	// After a storage fault nobody knows what the header on the disk says.
	if slices.Equal(urls, p.before.URLs()) {
		return nil
	}
	left := p.m.retire(p.before, urls)
	select {
	case p.m.moved <- struct{}{}:
	default: // whoever takes the token that is there sees this, too
	}
	return left
}

// takeBack empties a Keeper that was given a share and is not to have it. What is
// pending there alone needs no signature.
func (p *replacement) takeBack(ctx context.Context, n *named) {
	tag := p.before.Tag(n.index, p.m.vault.PublicKey())
	// The caller may have gone away; the client has a time limit of its own.
	if err := n.client.Erase(context.WithoutCancel(ctx), n.instance, &tag, nil); err != nil {
		p.m.log.Warn("a share that was given for a replacement, which was refused, could not be taken back; restart that Keeper",
			"keeper", n.client.URL().String(), "error", err)
	}
}
