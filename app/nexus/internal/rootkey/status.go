package rootkey

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// Status looks at all Keepers and says how things are.
func (m *Manager) Status(ctx context.Context, caller vault.Caller) (api.OperatorStatusResponse, error) {
	r, err := m.vault.Begin(ctx, caller, vault.OpOperatorStatus)
	if err != nil {
		return api.OperatorStatusResponse{}, err
	}
	res := m.status(ctx)
	return res, r.Done(ctx, nil)
}

func (m *Manager) status(ctx context.Context) api.OperatorStatusResponse {
	keepers := m.lookAtAll(ctx)
	res := api.OperatorStatusResponse{
		State: m.vault.State(), Backend: m.config.Backend, Keepers: keepers,
		Collected: m.restore.size(), Started: m.started.UTC(), Version: m.config.Version,
	}
	res.Mismatch = res.State == api.StateLocked && m.mismatched()
	holding := 0
	for _, k := range keepers {
		if k.Holds == api.HoldsShare || k.Holds == api.HoldsPending {
			holding++
		}
	}
	h := m.vault.Header()
	if h != nil {
		res.Cluster, res.KeyID = h.Cluster.String(), h.KeyID.String()
		res.Threshold, res.Shards = h.Threshold, len(h.Paper)
		// No number of Keepers helps a store whose header was changed.
		if m.config.HasRootKey && !res.Mismatch {
			spare := holding - h.Threshold
			res.Spare = &spare
		}
	}
	if secrets, sequence, ok := m.vault.Size(); ok {
		res.Secrets, res.Sequence = &secrets, int64(sequence)
	}
	if r := m.vault.Rollback(); r != nil {
		res.Behind = rollback(r)
	}
	res.Reason = m.reason(res.State, holding, h)
	for _, k := range m.unassigned() {
		res.Unassigned = append(res.Unassigned, k.URL().String())
	}
	if len(res.Unassigned) > 0 {
		res.Reason += "; no share belongs to " + strings.Join(res.Unassigned, ", ") +
			" of SPIKE_NEXUS_KEEPER_PEERS: assign them with spike operator keeper replace, or correct the setting"
	}
	if left := m.leftovers(); left != "" {
		res.Reason += "; " + left
	}
	return res
}

// Accept serves a store that is behind, as it is.
func (m *Manager) Accept(ctx context.Context, caller vault.Caller, req *api.OperatorAcceptRequest) (api.OperatorAcceptResponse, error) {
	lost, err := m.vault.AcceptRollback(ctx, caller, uint64(max(0, req.Sequence)))
	if err != nil {
		return api.OperatorAcceptResponse{}, err
	}
	return api.OperatorAcceptResponse{Behind: rollback(lost)}, nil
}

func rollback(r *vault.Rollback) *api.OperatorRollback {
	return &api.OperatorRollback{
		Epoch: int64(r.Epoch), Sequence: int64(r.Sequence),
		ToldEpoch: int64(r.ToldEpoch), ToldSequence: int64(r.ToldSequence),
	}
}

// lookAtAll asks the Keepers at once; each has the client's time limit.
func (m *Manager) lookAtAll(ctx context.Context) []api.KeeperStatus {
	slots := m.slots()
	list := make([]api.KeeperStatus, len(slots))
	var wg sync.WaitGroup
	for i, k := range slots {
		list[i] = api.KeeperStatus{Index: i + 1, Holds: api.HoldsUnknown}
		if k == nil {
			list[i].URL = m.vault.Header().Keepers[i].URL
			list[i].Detail = "it is not among SPIKE_NEXUS_KEEPER_PEERS"
			continue
		}
		wg.Go(func() {
			held, s, _ := m.look(ctx, i+1, k)
			held.Wipe()
			list[i].URL = k.URL().String()
			list[i].Reachable, list[i].Holds = s.reachable, s.holds
			list[i].Detail, list[i].Checked = s.detail, s.at.UTC()
		})
	}
	wg.Wait()
	return list
}

// mismatchReason is for a locked Nexus that has found enough shares.
const mismatchReason = "enough shares were found, each as the store says it must be, but together they do not make " +
	"the root key that it wants: the store's header was changed. Nexus does not open by itself. " +
	"No share is to blame: keep the Keepers running, and put a backup in the store's place: " +
	"docs/runbook/everything-lost.md"

func (m *Manager) reason(state string, holding int, h *vault.Header) string {
	switch state {
	case api.StateUninitialized:
		return "there is no cluster in the data folder yet"
	case api.StateLocked:
		if m.mismatched() {
			return mismatchReason
		}
		if elsewhere := m.elsewhere(h); elsewhere != "" {
			return elsewhere
		}
		return fmt.Sprintf("the root key is not known: of %d Keepers %d hold their share, and %d must; "+
			"Nexus opens by itself when enough are back",
			len(h.Keepers), holding, h.Threshold)
	case api.StateOpen:
		switch {
		case m.vault.Full():
			return "serving reads; writes are refused because the store has no room: free some on its disk"
		case !m.config.HasRootKey:
			return "serving; everything is lost when this process ends"
		case holding < h.Threshold:
			return fmt.Sprintf("serving, but of %d Keepers only %d hold their share and %d must: "+
				"after a restart Nexus would stay locked", len(h.Keepers), holding, h.Threshold)
		}
		return "serving"
	}
	if r := m.vault.Rollback(); r != nil {
		return r.String() + "; nothing is served until a superuser accepts that what came after is lost"
	}
	if errors.Is(m.vault.Failure(), vault.ErrDamaged) {
		return "the store is damaged; Nexus's log says what was found; put a backup in its place"
	}
	return "the store failed; Nexus's log says why; start it again"
}
