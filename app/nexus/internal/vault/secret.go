package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/secret"
)

// PutSecret writes a new version of a secret and returns its number. It returns
// api.ErrVersionConflict when cas asks for another current version than there
// is.
func (v *Vault) PutSecret(ctx context.Context, caller Caller, req *api.SecretPutRequest) (int, error) {
	r, _, err := v.begin(ctx, caller, decision.SecretPut, req.Path, 0)
	if err != nil {
		return 0, err
	}
	written, err := v.putSecret(ctx, r, req)
	r.version = written
	return written, r.done(ctx, err)
}

func (v *Vault) putSecret(ctx context.Context, r *request, req *api.SecretPutRequest) (int, error) {
	if err := req.Validate(); err != nil {
		return 0, invalid(err)
	}
	values, err := encodeValues(req.Values)
	if err != nil {
		return 0, err
	}
	written := 0
	err = v.change(ctx, r, values.Len(), func(t *tx) error {
		e, exists := t.secrets.Get(req.Path)
		if req.CAS != nil {
			current := 0
			if exists {
				current = int(e.current().number)
			}
			if current != *req.CAS {
				return api.ErrVersionConflict
			}
		}
		next := e.withNew(values, t.now, v.maxVersions)
		written = int(next.current().number)
		return t.setSecret(req.Path, next)
	})
	if err != nil {
		return 0, err
	}
	return written, nil
}

// change hands a write to the committer, which decides again: the caller's
// rights may have changed while the write waited.
func (v *Vault) change(ctx context.Context, r *request, size int, apply func(*tx) error) error {
	v.mu.Lock()
	c, stopping := v.committer, v.stopping
	v.mu.Unlock()
	if c == nil || stopping {
		return api.ErrNotReady
	}
	w := &write{size: size, done: make(chan error, 1)}
	w.apply = func(t *tx) error {
		if !r.decide(t.policies) {
			return api.ErrUnauthorized
		}
		return apply(t)
	}
	return c.submit(ctx, w)
}

// GetSecret returns the values of one version, a JSON object of strings; version
// 0 is the current one. It returns api.ErrNotFound for a path or version that is
// not there or is deleted.
func (v *Vault) GetSecret(ctx context.Context, caller Caller, req *api.SecretGetRequest) (secret.Bytes, error) {
	r, s, err := v.begin(ctx, caller, decision.SecretGet, req.Path, req.Version)
	if err != nil {
		return secret.Bytes{}, err
	}
	values, err := s.get(r, req)
	if err = r.done(ctx, err); err != nil {
		return secret.Bytes{}, err
	}
	return values, nil
}

func (s *snapshot) get(r *request, req *api.SecretGetRequest) (secret.Bytes, error) {
	e, ok := s.secrets.Get(req.Path)
	if !ok {
		// Where something is, the path was checked when it was put there.
		if err := req.Validate(); err != nil {
			return secret.Bytes{}, invalid(err)
		}
		return secret.Bytes{}, api.ErrNotFound
	}
	if req.Version == 0 {
		r.version = int(e.current().number)
	}
	return e.readable(req.Version)
}

// ListSecrets returns paths of secrets in byte order, never nil. A workload that
// may list some paths and not all gets those.
func (v *Vault) ListSecrets(ctx context.Context, caller Caller, req *api.SecretListRequest) ([]string, error) {
	r, s, err := v.begin(ctx, caller, decision.SecretList, req.Prefix, 0)
	if err != nil {
		return nil, err
	}
	keys, _, err := s.list(ctx, req, r.verdict.Filter)
	if err = r.done(ctx, err); err != nil {
		return nil, err
	}
	return keys, nil
}

// list returns the paths that are asked for and that the filter lets through, and how
// many it looked at for them: one more than it returns, unless the filter keeps some
// back. A filter looks only under the literals that its patterns begin with. With one
// that begins with none, a page can take a look at every path there is; no lock is
// held meanwhile, and it ends with ctx.
func (s *snapshot) list(ctx context.Context, req *api.SecretListRequest, f *decision.Filter) (keys []string, looked int, err error) {
	if err := req.Validate(); err != nil {
		return nil, 0, invalid(err)
	}
	limit := req.Limit
	if limit == 0 {
		limit = s.secrets.Len()
	}
	keys = make([]string, 0, min(limit, 1024))
	for _, prefix := range f.Within(req.Prefix) {
		if len(keys) == limit {
			break
		}
		s.secrets.Ascend(max(prefix, req.After), func(path string, _ *entry) bool {
			looked++
			if !strings.HasPrefix(path, prefix) || looked%1024 == 0 && ctx.Err() != nil {
				return false
			}
			if path != req.After && f.Lets(path) {
				keys = append(keys, path)
			}
			return len(keys) < limit
		})
	}
	return keys, looked, ctx.Err()
}

// DeleteSecret stamps versions as deleted; they can be undeleted. It returns
// api.ErrNotFound for a path that is not there.
func (v *Vault) DeleteSecret(ctx context.Context, caller Caller, req *api.SecretVersionsRequest) error {
	return v.changeVersions(ctx, caller, decision.SecretDelete, req, (*entry).withDeleted)
}

// UndeleteSecret takes the stamps off again.
func (v *Vault) UndeleteSecret(ctx context.Context, caller Caller, req *api.SecretVersionsRequest) error {
	return v.changeVersions(ctx, caller, decision.SecretUndelete, req, (*entry).withUndeleted)
}

// DestroySecret removes the versions named for good.
func (v *Vault) DestroySecret(ctx context.Context, caller Caller, req *api.SecretVersionsRequest) error {
	return v.changeVersions(ctx, caller, decision.SecretDestroy, req, (*entry).withDestroyed)
}

func (v *Vault) changeVersions(ctx context.Context, caller Caller, op Operation, req *api.SecretVersionsRequest,
	change func(e *entry, numbers []int, now int64) *entry) error {
	named := 0
	if len(req.Versions) == 1 {
		named = req.Versions[0]
	}
	r, s, err := v.begin(ctx, caller, op, req.Path, named)
	if err != nil {
		return err
	}
	err = req.Validate()
	if err == nil && op == decision.SecretDestroy && len(req.Versions) == 0 {
		err = errors.New("no version is named")
	}
	if err != nil {
		return r.done(ctx, invalid(err))
	}
	// Rows are written whole, values included, and count for the batch's limit.
	size := 0
	if e, ok := s.secrets.Get(req.Path); ok {
		size = e.size()
	}
	err = v.change(ctx, r, size, func(t *tx) error {
		e, ok := t.secrets.Get(req.Path)
		if !ok {
			return api.ErrNotFound
		}
		r.name(req.Versions, int(e.current().number))
		if next := change(e, req.Versions, t.now); next != nil {
			return t.setSecret(req.Path, next)
		}
		return nil
	})
	return r.done(ctx, err)
}

// name has the audit line say which versions were named: 0, or none at all, is the
// current one.
func (r *request) name(numbers []int, current int) {
	switch {
	case len(numbers) == 0, len(numbers) == 1 && numbers[0] == 0:
		r.version = current
	case len(numbers) > 1:
		r.several = slices.Clone(numbers)
		for i, n := range r.several {
			if n == 0 {
				r.several[i] = current
			}
		}
	}
}

// GetMetadata says which versions of a secret there are. With a version, that
// one must be there and not be deleted.
func (v *Vault) GetMetadata(ctx context.Context, caller Caller, req *api.SecretGetRequest) (api.SecretMetadataResponse, error) {
	r, s, err := v.begin(ctx, caller, decision.SecretMetadata, req.Path, req.Version)
	if err != nil {
		return api.SecretMetadataResponse{}, err
	}
	res, err := s.metadata(req, v.maxVersions)
	if err = r.done(ctx, err); err != nil {
		return api.SecretMetadataResponse{}, err
	}
	return res, nil
}

func (s *snapshot) metadata(req *api.SecretGetRequest, keep int) (res api.SecretMetadataResponse, err error) {
	if err := req.Validate(); err != nil {
		return res, invalid(err)
	}
	e, ok := s.secrets.Get(req.Path)
	if !ok {
		return res, api.ErrNotFound
	}
	if req.Version != 0 {
		if _, err := e.readable(req.Version); err != nil {
			return res, err
		}
	}
	updated := e.first
	res.Versions = make(map[int]api.SecretVersion, len(e.versions))
	for i := range e.versions {
		v := &e.versions[i]
		updated = max(updated, v.changed)
		out := api.SecretVersion{
			CreatedTime: time.Unix(0, v.created).UTC(), Version: int(v.number), Destroyed: v.flags&flagDestroyed != 0,
		}
		if v.flags != 0 {
			deleted := time.Unix(0, v.deleted).UTC()
			out.DeletedTime = &deleted
		}
		res.Versions[out.Version] = out
	}
	res.Metadata = api.SecretMetadata{
		CurrentVersion: int(e.current().number), OldestVersion: int(e.versions[0].number),
		CreatedTime: time.Unix(0, e.first).UTC(), UpdatedTime: time.Unix(0, updated).UTC(), MaxVersions: keep,
	}
	return res, nil
}

// invalid makes a bad request of what a rule said. The rule's sentence is for
// the log; a client sees the code.
func invalid(err error) error { return fmt.Errorf("%w: %w", api.ErrBadRequest, err) }
