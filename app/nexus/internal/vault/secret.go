package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// PutSecret writes a new version of a secret and returns its number. It returns
// api.ErrVersionConflict when cas asks for another current version than there
// is.
func (v *Vault) PutSecret(ctx context.Context, caller Caller, req *api.SecretPutRequest) (int, error) {
	if v.current.Load() == nil {
		return 0, api.ErrNotReady
	}
	r := v.request(caller, OpSecretPut, req.Path, 0)
	if err := r.allow(ctx); err != nil {
		return 0, err
	}
	written, err := v.putSecret(ctx, &r, req)
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
		return t.set(req.Path, next)
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
	c := v.committer
	v.mu.Unlock()
	if c == nil {
		return api.ErrNotReady
	}
	w := &write{size: size, done: make(chan error, 1)}
	w.apply = func(t *tx) error {
		if r.verdict = decide(r.caller, r.op); !r.verdict.allowed {
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
	s := v.current.Load()
	if s == nil {
		return secret.Bytes{}, api.ErrNotReady
	}
	r := v.request(caller, OpSecretGet, req.Path, req.Version)
	if err := r.allow(ctx); err != nil {
		return secret.Bytes{}, err
	}
	values, err := s.get(req)
	if err = r.done(ctx, err); err != nil {
		return secret.Bytes{}, err
	}
	return values, nil
}

func (s *snapshot) get(req *api.SecretGetRequest) (secret.Bytes, error) {
	if err := req.Validate(); err != nil {
		return secret.Bytes{}, invalid(err)
	}
	e, ok := s.secrets.Get(req.Path)
	if !ok {
		return secret.Bytes{}, api.ErrNotFound
	}
	return e.readable(req.Version)
}

// ListSecrets returns the paths of all secrets in byte order, never nil.
func (v *Vault) ListSecrets(ctx context.Context, caller Caller) ([]string, error) {
	s := v.current.Load()
	if s == nil {
		return nil, api.ErrNotReady
	}
	r := v.request(caller, OpSecretList, "", 0)
	if err := r.allow(ctx); err != nil {
		return nil, err
	}
	keys := make([]string, 0, s.secrets.Len())
	s.secrets.Scan(func(path string, _ *entry) bool {
		keys = append(keys, path)
		return true
	})
	return keys, r.done(ctx, nil)
}

// encodeValues returns the object as it is kept and served.
func encodeValues(values api.Values) (secret.Bytes, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]string(values)); err != nil {
		return secret.Bytes{}, fmt.Errorf("encode values: %w", err)
	}
	return secret.NewBytes(bytes.Clone(bytes.TrimSuffix(b.Bytes(), []byte("\n")))), nil
}

// invalid makes a bad request of what a rule said. The rule's sentence is for
// the log; a client sees the code.
func invalid(err error) error { return fmt.Errorf("%w: %w", api.ErrBadRequest, err) }
