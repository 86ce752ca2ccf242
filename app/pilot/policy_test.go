package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/role"
)

// policy answers what has to do with policies, for a superuser.
func (w *world) policy(r *http.Request) (any, error) {
	switch r.URL.Query().Get("action") {
	case api.ActionPut:
		return answer(r, w.putPolicy)
	case api.ActionGet:
		return answer(r, func(req *api.PolicyRequest) (res api.PolicyGetResponse, err error) {
			p := w.policies[req.ID]
			if p == nil {
				return res, api.ErrNotFound
			}
			res.Policy = api.Policy{
				ID: p.Name, Name: p.Name, SPIFFEIDPattern: p.SPIFFEIDPattern, SPIFFEIDPatternMisspelt: p.SPIFFEIDPattern,
				PathPattern: p.PathPattern, Permissions: p.Permissions.Names(), CreatedAt: p.Created, UpdatedAt: p.Updated,
			}
			return res, nil
		})
	case api.ActionDelete:
		return answer(r, func(req *api.PolicyRequest) (res api.PolicyDeleteResponse, err error) {
			if w.policies[req.ID] == nil {
				return res, api.ErrNotFound
			}
			delete(w.policies, req.ID)
			return res, nil
		})
	case api.ActionList:
		return answer(r, func(req *api.PolicyListRequest) (res api.PolicyListResponse, err error) {
			for _, name := range slices.Sorted(maps.Keys(w.policies)) {
				p := w.policies[name]
				if (req.PathPattern == "" || req.PathPattern == p.PathPattern) &&
					(req.SPIFFEIDPattern == "" || req.SPIFFEIDPattern == p.SPIFFEIDPattern) {
					res.Policies = append(res.Policies, api.PolicyListItem{ID: name, Name: name})
				}
			}
			return res, nil
		})
	}
	return nil, api.ErrBadRequest
}

func (w *world) putPolicy(req *api.PolicyPutRequest) (res api.PolicyPutResponse, err error) {
	permissions, err := policy.ParsePermissions(req.Permissions)
	if err != nil {
		return res, api.ErrBadRequest
	}
	now := w.tick()
	p, err := policy.Compile(policy.Policy{
		Name: req.Name, SPIFFEIDPattern: req.SPIFFEIDPattern, PathPattern: req.PathPattern,
		Permissions: permissions, Created: now, Updated: now,
	})
	if err != nil {
		return res, api.ErrBadRequest
	}
	if w.fails == req.Name {
		return res, api.ErrInternal
	}
	if old := w.policies[req.Name]; old != nil {
		p.Created = old.Created
	}
	w.policies[req.Name] = p
	return api.PolicyPutResponse{ID: req.Name}, nil
}

// decide says what policies let a workload do, by the function by which Nexus does. The
// request can be read again afterwards.
func (w *world) decide(id spiffeid.ID, r *http.Request) decision.Verdict {
	caller, set := decision.Caller{ID: id.String(), Role: role.Workload}, policy.NewSet(slices.Collect(maps.Values(w.policies))...)
	op := decision.SecretPut // all that changes a secret has its rule
	switch action := r.URL.Query().Get("action"); {
	case r.URL.Path == api.PathCipherEncrypt, r.URL.Path == api.PathCipherDecrypt:
		return decision.Decide(set, caller, decision.CipherEncrypt, "")
	case action == api.ActionList:
		return decision.Decide(set, caller, decision.SecretList, "")
	case action == api.ActionGet:
		op = decision.SecretGet
	}
	body, err := io.ReadAll(r.Body)
	var named struct{ Path string }
	if err != nil || json.Unmarshal(body, &named) != nil {
		return decision.Verdict{}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return decision.Decide(set, caller, op, named.Path)
}

// maxCiphertext is small here.
const maxCiphertext = 1024

// scramble stands in for encryption: a tag follows by which it is known again.
func scramble(in []byte) []byte {
	out := make([]byte, len(in), len(in)+api.CipherTag)
	for i, b := range in {
		out[i] = b ^ 0x55
	}
	return append(out, "a tag of sixteen"...)
}

func unscramble(nonce, in []byte) ([]byte, error) {
	text, tagged := bytes.CutSuffix(in, []byte("a tag of sixteen"))
	if !tagged || string(nonce) != "twelve bytes" || len(in) > maxCiphertext {
		return nil, api.ErrBadRequest
	}
	return scramble(text)[:len(text)], nil
}

// cipher answers both forms.
func (w *world) cipher(r *http.Request) (any, error) {
	encrypt := r.URL.Path == api.PathCipherEncrypt
	if r.Header.Get("Content-Type") != api.OctetStream {
		if encrypt {
			return answer(r, func(req *api.CipherEncryptRequest) (res api.CipherEncryptResponse, err error) {
				if req.Plaintext == nil || len(req.Plaintext)+api.CipherTag > maxCiphertext {
					return res, api.ErrBadRequest
				}
				return api.CipherEncryptResponse{Version: 1, Nonce: []byte("twelve bytes"), Ciphertext: scramble(req.Plaintext)}, nil
			})
		}
		return answer(r, func(req *api.CipherDecryptRequest) (res api.CipherDecryptResponse, err error) {
			if req.Version != 1 {
				return res, api.ErrBadRequest
			}
			res.Plaintext, err = unscramble(req.Nonce, req.Ciphertext)
			return res, err
		})
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxCiphertext+13))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), err == nil && encrypt && len(body)+api.CipherTag > maxCiphertext, len(body) < 1:
		return nil, api.ErrBadRequest
	case err != nil:
		return nil, err
	case encrypt:
		return stream(append([]byte("\x01twelve bytes"), scramble(body)...)), nil
	case len(body) < 13 || body[0] != 1:
		return nil, api.ErrBadRequest
	}
	plain, err := unscramble(body[1:13], body[13:])
	return stream(plain), err
}
