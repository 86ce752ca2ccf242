package main

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/shard"
)

func (w *world) handle(id spiffeid.ID, r *http.Request) (any, error) {
	role, _, _ := strings.Cut(strings.TrimPrefix(id.Path(), "/spike/pilot/role/"), "/")
	switch route := r.URL.Path + r.URL.Query().Get("action"); {
	case r.URL.Path == api.PathOperatorStatus && role == "superuser":
		return w.status(), nil
	case w.answer != nil:
		return nil, w.answer
	case role == "superuser" && (route == api.PathOperatorBackup || route == api.PathOperatorLoad || route == api.PathOperatorAccept || route == api.PathOperatorKeeper):
		return w.safekeep(route, r)
	case route == api.PathOperatorRestore && role == "restore":
		return w.restore(r)
	case route == api.PathOperatorInit && role == "superuser":
		if w.state != api.StateUninitialized {
			return nil, api.ErrAlreadyInitialized
		}
		w.state = api.StateOpen
		return api.OperatorInitResponse{Cluster: "c-1", KeyID: "k-1", Threshold: 2, Keepers: 3, Shards: 3}, nil
	case w.state != api.StateOpen:
		return nil, api.ErrNotReady
	case route == api.PathOperatorRecover && role == "recover":
		return api.OperatorRecoverResponse{Shards: shards(), Cluster: "c-1", KeyID: "k-1", Threshold: 2}, nil
	// It may write and not read: get and metadata are denied.
	case id.Path() == "/writer" && strings.HasPrefix(r.URL.Path, api.PathSecret) && r.URL.Query().Get("action") != api.ActionGet:
		return w.secret(r)
	case strings.HasPrefix(r.URL.Path, api.PathSecret) && (role == "superuser" || id.Path() == "/web"):
		return w.secret(r)
	case r.URL.Path == api.PathPolicy && role == "superuser":
		return w.policy(r)
	case strings.HasPrefix(r.URL.Path, "/v1/cipher/") && (role == "superuser" || w.decide(id, r).Allowed):
		return w.cipher(r)
	// All other workloads are under policies, as with the real Nexus.
	case strings.HasPrefix(r.URL.Path, api.PathSecret):
		switch v := w.decide(id, r); {
		case v.Filter != nil:
			return answer(r, w.listed(v.Filter.Lets))
		case v.Allowed:
			return w.secret(r)
		}
	}
	return nil, api.ErrUnauthorized
}

// kept is one version of a secret.
type kept struct {
	values    api.Values
	created   time.Time
	deleted   *time.Time
	destroyed bool
}

// tick is the time of the fake: a minute later at each write.
func (w *world) tick() time.Time {
	w.writes++
	return time.Date(2026, 1, 2, 3, w.writes, 0, 0, time.UTC)
}

func (w *world) secret(r *http.Request) (any, error) {
	action := r.URL.Query().Get("action")
	switch {
	case r.URL.Path == api.PathSecretMetadata && action == api.ActionGet:
		return answer(r, w.metadata)
	case r.URL.Path != api.PathSecret:
		return nil, api.ErrBadRequest
	}
	switch action {
	case api.ActionPut:
		return answer(r, w.put)
	case api.ActionGet:
		return answer(r, w.get)
	case api.ActionList:
		return answer(r, w.listed(func(string) bool { return true }))
	case api.ActionDelete:
		return answer(r, w.change(func(k *kept) bool { return k.deleted == nil }, func(k *kept) {
			at := w.tick()
			k.deleted = &at
		}))
	case api.ActionUndelete:
		return answer(r, w.change(func(k *kept) bool { return !k.destroyed }, func(k *kept) { k.deleted = nil }))
	case api.ActionDestroy:
		return answer(r, w.change(func(k *kept) bool { return !k.destroyed }, func(k *kept) {
			at := w.tick()
			k.deleted, k.destroyed, k.values = &at, true, nil
		}))
	}
	return nil, api.ErrBadRequest
}

// answer decodes a request for f, strictly: what Pilot sends is what the wire has.
func answer[Req, Res any](r *http.Request, f func(*Req) (Res, error)) (any, error) {
	var req Req
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return nil, api.ErrBadRequest
	}
	return f(&req)
}

func (w *world) put(req *api.SecretPutRequest) (api.SecretPutResponse, error) {
	versions := w.secrets[req.Path]
	if req.CAS != nil && *req.CAS != len(versions) {
		return api.SecretPutResponse{}, api.ErrVersionConflict
	}
	w.secrets[req.Path] = append(versions, &kept{values: req.Values, created: w.tick()})
	return api.SecretPutResponse{Version: len(versions) + 1}, nil
}

func (w *world) get(req *api.SecretGetRequest) (api.SecretGetResponse, error) {
	versions := w.secrets[req.Path]
	n := req.Version
	if n == 0 {
		n = len(versions)
	}
	if n < 1 || n > len(versions) || versions[n-1].deleted != nil {
		return api.SecretGetResponse{}, api.ErrNotFound
	}
	return api.SecretGetResponse{Data: versions[n-1].values}, nil
}

// listed answers with those paths that the caller may list.
func (w *world) listed(may func(path string) bool) func(*api.SecretListRequest) (api.SecretListResponse, error) {
	return func(req *api.SecretListRequest) (api.SecretListResponse, error) {
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(w.secrets)), func(path string) bool {
			return path <= req.After || !strings.HasPrefix(path, req.Prefix) || !may(path)
		})
		if req.Limit > 0 {
			keys = keys[:min(req.Limit, len(keys))]
		}
		return api.SecretListResponse{Keys: keys}, nil
	}
}

// change applies do to the versions named that can take it.
func (w *world) change(can func(*kept) bool, do func(*kept)) func(*api.SecretVersionsRequest) (api.SecretVersionsResponse, error) {
	return func(req *api.SecretVersionsRequest) (res api.SecretVersionsResponse, err error) {
		versions := w.secrets[req.Path]
		if len(versions) == 0 {
			return res, api.ErrNotFound
		}
		for _, n := range req.Versions {
			if n == 0 {
				n = len(versions)
			}
			if n >= 1 && n <= len(versions) && can(versions[n-1]) {
				do(versions[n-1])
			}
		}
		return res, nil
	}
}

func (w *world) metadata(req *api.SecretGetRequest) (api.SecretMetadataResponse, error) {
	versions := w.secrets[req.Path]
	if len(versions) == 0 {
		return api.SecretMetadataResponse{}, api.ErrNotFound
	}
	res := api.SecretMetadataResponse{
		Versions: map[int]api.SecretVersion{},
		Metadata: api.SecretMetadata{
			CurrentVersion: len(versions), OldestVersion: 1, MaxVersions: 10,
			CreatedTime: versions[0].created, UpdatedTime: versions[len(versions)-1].created,
		},
	}
	for i, k := range versions {
		// Of destroyed versions Nexus keeps the number of the current one alone.
		if !k.destroyed || i == len(versions)-1 {
			res.Versions[i+1] = api.SecretVersion{Version: i + 1, CreatedTime: k.created, DeletedTime: k.deleted, Destroyed: k.destroyed}
		}
	}
	return res, nil
}

func (w *world) status() api.OperatorStatusResponse {
	spare, secrets := 1, len(w.secrets)
	res := api.OperatorStatusResponse{
		State: w.state, Backend: "sqlite", Version: "nexus test",
		Keepers: []api.KeeperStatus{
			{Index: 1, URL: "https://keeper-1:8443", Reachable: true, Holds: api.HoldsShare},
			{Index: 2, URL: "https://keeper-2:8443", Reachable: true, Holds: api.HoldsShare},
			{Index: 3, URL: "https://keeper-3:8443", Holds: api.HoldsUnknown, Detail: "connection refused"},
		},
	}
	if w.state == api.StateUninitialized {
		res.Reason = "there is no cluster in the data folder yet"
		for i := range res.Keepers {
			res.Keepers[i].Holds = api.HoldsNothing
		}
		if errors.Is(w.answer, api.ErrKeeperHoldsShare) {
			res.Keepers[1].Holds, res.Keepers[1].Detail = api.HoldsForeign, "it holds an active share of cluster c-9"
		}
		return res
	}
	res.Cluster, res.KeyID, res.Threshold, res.Shards = "c-1", "k-1", 2, 3
	if w.state == api.StateLocked {
		res.Reason = "1 of the 3 Keepers has its share, and 2 are needed"
		res.Keepers[1].Holds = api.HoldsNothing
		res.Collected, res.Mismatch = len(w.collected), w.mismatch
		if w.mismatch {
			res.Reason = "enough shares were found, but together they do not make the root key"
		}
		short := -1
		res.Spare = &short
		return res
	}
	if w.state == api.StateBehind {
		res.Reason, res.Behind = "the store is at commit 5 of epoch 1, but a Keeper was told commit 9 of epoch 1", behind()
		return res
	}
	res.Spare, res.Secrets, res.Started = &spare, &secrets, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return res
}

// shards returns the recovery shards of the made-up cluster.
func shards() map[int]shard.Value {
	set := map[int]shard.Value{}
	for i := 1; i <= 3; i++ {
		var v shard.Value
		for j := range v {
			v[j] = byte(0xa0 + i)
		}
		set[i] = v
	}
	return set
}

func (w *world) restore(r *http.Request) (any, error) {
	var req api.OperatorRestoreRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || !req.Strict {
		return nil, api.ErrBadRequest
	}
	const threshold = 2
	switch {
	case w.state == api.StateUninitialized:
		return nil, api.ErrUninitialized
	case w.state == api.StateOpen, w.state == api.StateBehind:
		return api.OperatorRestoreResponse{Restored: true, Behind: w.state == api.StateBehind}, nil
	case req.Cluster != "" && req.Cluster != "c-1":
		return nil, api.ErrShardForeign
	case req.KeyID != "" && req.KeyID != "k-1":
		return nil, api.ErrShardStale
	case shards()[req.ID] != req.Shard || req.Shard == shard.Value{}:
		return nil, api.ErrShardCorrupt
	case w.collected[req.ID]:
		return nil, api.ErrShardDuplicate
	}
	w.collected[req.ID] = true
	n := len(w.collected)
	if w.mismatch && n >= threshold {
		clear(w.collected)
		return nil, api.ErrStoreMismatch
	}
	restored := n >= threshold
	if restored {
		w.state = api.StateOpen
		if w.outdated {
			w.state = api.StateBehind
		}
	}
	return api.OperatorRestoreResponse{
		Collected: n, Remaining: threshold - n, Restored: restored, Behind: restored && w.outdated,
	}, nil
}
