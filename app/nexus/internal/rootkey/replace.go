package rootkey

import (
	"context"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/config"
	"github.com/spiffe/spike/internal/keeper"
)

// Replace says where Keepers are from now on, and fills them. It is refused, and
// nothing changed, unless each of them answers and holds nothing, or the very
// share that is to be there: a mistyped URL is told at once.
func (m *Manager) Replace(ctx context.Context, caller vault.Caller, req *api.OperatorKeeperRequest) (api.OperatorKeeperResponse, error) {
	var clients []*keeper.Client
	h, err := m.vault.ReplaceKeepers(ctx, caller, normal(req.Replace), func(index int, url string) error {
		k, err := m.ready(ctx, index, url)
		clients = append(clients, k)
		return err
	})
	if err != nil {
		return api.OperatorKeeperResponse{}, err
	}
	for _, k := range clients {
		if m.at(k.URL().String()) == nil {
			m.mu.Lock()
			m.addLocked(k)
			m.mu.Unlock()
		}
	}
	select {
	case m.moved <- struct{}{}:
	default: // whoever takes the token that is there sees this, too
	}
	return api.OperatorKeeperResponse{Keepers: h.URLs()}, nil
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

// ready returns the Keeper at a URL, if it is fit for the share of that index.
func (m *Manager) ready(ctx context.Context, index int, text string) (*keeper.Client, error) {
	if !m.config.HasRootKey {
		return nil, api.ErrNoRootKeyBackend
	}
	u, err := config.ParseURL(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	k := m.at(u.String())
	if k == nil {
		k = m.config.NewKeeper(u)
	}
	held, s, err := m.look(ctx, index, k)
	defer held.Wipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrKeeperUnreachable, err)
	}
	if held.Active != nil && s.holds != api.HoldsShare {
		return nil, fmt.Errorf("%w: %s: %s", api.ErrKeeperHoldsShare, text, s.detail)
	}
	return k, nil
}
