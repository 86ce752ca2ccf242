package rootkey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/failpoint"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/keeper"
)

// outcomeWait is how long a replacement waits to say what became of the Keepers
// that were replaced.
const outcomeWait = 10 * time.Second

// retired is a Keeper whose place another has. It is to lose its share, once the
// other one has it. That is tried for as long as Nexus runs and is not kept for
// the next start: whoever is replaced for good is ended by people.
type retired struct {
	index  int
	url    string
	client *keeper.Client
	// spared is one that may serve the same cluster at another place.
	spared bool
	told   chan struct{} // closed when there is an outcome to tell

	// The rest is guarded by the manager's mu.
	outcome api.ReplacedKeeper
	known   bool // told is closed
}

// outcome is how an attempt to erase a retired Keeper went.
type outcome struct {
	erased bool
	over   bool // nothing is left to be tried
	told   bool // it is worth telling, though it is not over
	detail string
}

// retire notes whose places were taken, and returns those.
func (m *Manager) retire(before *vault.Header, urls []string) (left []*retired) {
	// Whoever brings a copy of a store to other Keepers replaces all of them at once.
	all := !slices.ContainsFunc(before.URLs(), func(url string) bool { return slices.Contains(urls, url) })
	for i, url := range before.URLs() {
		if slices.Contains(urls, url) {
			continue
		}
		r := &retired{index: i + 1, url: url, client: m.at(url), spared: all, told: make(chan struct{})}
		r.outcome = api.ReplacedKeeper{Index: r.index, URL: url,
			Detail: "the Keeper in its place does not have its share yet; it is erased then"}
		left = append(left, r)
		if r.client == nil {
			m.report(r, outcome{over: true, detail: "it is not among SPIKE_NEXUS_KEEPER_PEERS, and was left alone"})
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// One that has a place again, or has lost another one now, is not what it was.
	m.retired = slices.DeleteFunc(m.retired, func(r *retired) bool {
		return slices.Contains(urls, r.url) || slices.ContainsFunc(left, func(l *retired) bool { return l.url == r.url })
	})
	for _, r := range left {
		if !r.known {
			m.retired = append(m.retired, r)
		}
	}
	return left
}

// retiring returns those that are still to be erased.
func (m *Manager) retiring() []*retired {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.retired)
}

// outcomes waits a while for what became of those that were replaced.
func (m *Manager) outcomes(ctx context.Context, left []*retired) (list []api.ReplacedKeeper) {
	ctx, cancel := context.WithTimeout(ctx, outcomeWait)
	defer cancel()
	for _, r := range left {
		select {
		case <-r.told:
		case <-m.ended:
		case <-ctx.Done():
		}
		m.mu.Lock()
		list = append(list, r.outcome)
		m.mu.Unlock()
	}
	return list
}

// dismiss erases a retired Keeper, sooner or later. No other Keeper's share is
// put into it meanwhile: those that tended it have ended.
func (m *Manager) dismiss(ctx context.Context, r *retired) {
	most := max(retryMost, m.config.UpdateInterval)
	for pause := retryFirst; ; pause = min(2*pause, most) {
		result := m.tryDismiss(ctx, r)
		if ctx.Err() != nil && !result.over {
			return // another attempt follows when the Keepers are tended again
		}
		m.report(r, result)
		if result.over {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// report keeps an outcome for the answer and for status, and logs what is new.
func (m *Manager) report(r *retired, o outcome) {
	m.mu.Lock()
	before := r.outcome
	r.outcome.Erased = o.erased
	if o.detail != "" {
		r.outcome.Detail = o.detail
	}
	if (o.over || o.told) && !r.known {
		r.known = true
		close(r.told)
	}
	if o.over {
		m.retired = slices.DeleteFunc(m.retired, func(other *retired) bool { return other == r })
	}
	changed := r.outcome != before
	m.mu.Unlock()
	switch {
	case o.erased:
		m.log.Info("a Keeper that was replaced has no share any more", "keeper", r.url, "index", r.index, "detail", o.detail)
	case changed:
		m.log.Warn("a Keeper that was replaced was not erased", "keeper", r.url, "index", r.index, "detail", o.detail)
	}
}

// tryDismiss erases a retired Keeper if, and only if, what it holds is the share
// of its former index, and another process holds that share where the header says.
func (m *Manager) tryDismiss(ctx context.Context, r *retired) outcome {
	// A replacement that gives this Keeper a place again comes before or after.
	select {
	case <-m.replacing:
		defer func() { m.replacing <- struct{}{} }()
	case <-ctx.Done():
		return outcome{}
	}
	h := m.vault.Header()
	if at := slices.Index(h.URLs(), r.url); at >= 0 {
		return outcome{over: true, detail: fmt.Sprintf("it is Keeper %d now", at+1)}
	}
	present := m.lookAtAll(ctx)
	held, err := r.client.Held(ctx)
	defer held.Wipe()
	switch {
	case err != nil && r.spared:
		return outcome{over: true, detail: "it could not be reached, and all Keepers were replaced at once, " +
			"so that it may serve the cluster at another place: Nexus does not try again; end that process unless it does"}
	case err != nil:
		return outcome{told: true, detail: "it could not be reached and may still have its share: end that process; " +
			"Nexus tries on until it is restarted"}
	case held.Active == nil && held.Pending == nil:
		return outcome{over: true, erased: true, detail: "it holds no share"}
	}
	for i, url := range h.URLs() {
		if m.instanceAt(url) == held.Instance {
			return outcome{over: true, detail: fmt.Sprintf("it is the process that is Keeper %d, at %s: there is nothing to erase", i+1, url)}
		}
	}
	if !ours(h, r.index, &held) {
		return outcome{over: true, detail: "it holds another share now, and was left alone"}
	}
	if r.spared {
		return outcome{over: true, detail: "all Keepers were replaced at once, so this one may serve the cluster at another place, " +
			"and was left alone: end that process unless it does"}
	}
	if present[r.index-1].Holds != api.HoldsShare {
		return outcome{} // its heir is being filled
	}
	return m.erase(ctx, h, r, &held)
}

// ours reports whether what a Keeper would lose is the share of that index alone.
func ours(h *vault.Header, index int, held *keeper.Held) bool {
	if held.Active != nil {
		return h.Fits(keeper.SetKeeper, index, &held.Active.Value)
	}
	return h.Fits(keeper.SetKeeper, index, &held.Pending.Value)
}

// erase empties a retired Keeper. What it remembers of how far the store has come,
// its heir knows first.
func (m *Manager) erase(ctx context.Context, h *vault.Header, r *retired, held *keeper.Held) outcome {
	if held.Anchor != nil {
		m.vault.CheckAnchor(held.Anchor)
	}
	a, open := m.vault.Anchor()
	if !open {
		return outcome{told: true, detail: "it is not erased while the store is behind, since it may remember more than others"}
	}
	heir := m.at(h.Keepers[r.index-1].URL)
	if heir == nil || heir.Anchor(ctx, a) != nil {
		return outcome{} // tried again
	}
	failpoint.Hit("replace.filled")
	sign := m.vault.Sign
	if held.Active == nil {
		sign = nil
	}
	tag := h.Tag(r.index, m.vault.PublicKey())
	err := r.client.Erase(ctx, held.Instance, &tag, sign)
	failpoint.Hit("replace.erased")
	switch {
	case err == nil:
		return outcome{over: true, erased: true, detail: "its share is erased"}
	case errors.Is(err, keeper.ErrUnreachable):
		return outcome{} // it may have done it: the next look tells
	}
	m.log.Warn("a Keeper that was replaced refuses to be erased", "keeper", r.url, "error", err)
	return outcome{told: true, detail: "it refuses to erase its share: end that process"}
}

// leftovers says which retired Keepers may still have their shares.
func (m *Manager) leftovers() string {
	var list []string
	for _, r := range m.retiring() {
		m.mu.Lock()
		list = append(list, fmt.Sprintf("Keeper %d was replaced, and the one before it is at %s: %s", r.index, r.url, r.outcome.Detail))
		m.mu.Unlock()
	}
	return strings.Join(list, "; ")
}
