package server

import (
	"context"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

func (s *Server) putPolicy(ctx context.Context, caller vault.Caller, req *api.PolicyPutRequest) (api.PolicyPutResponse, error) {
	return api.PolicyPutResponse{ID: req.Name}, s.vault.PutPolicy(ctx, caller, req)
}

func (s *Server) getPolicy(ctx context.Context, caller vault.Caller, req *api.PolicyRequest) (api.PolicyGetResponse, error) {
	p, err := s.vault.GetPolicy(ctx, caller, req)
	if err != nil {
		return api.PolicyGetResponse{}, err
	}
	return api.PolicyGetResponse{Policy: api.Policy{
		ID: p.Name, Name: p.Name, SPIFFEIDPattern: p.SPIFFEIDPattern, SPIFFEIDPatternMisspelt: p.SPIFFEIDPattern,
		PathPattern: p.PathPattern, Permissions: p.Permissions.Names(), CreatedAt: p.Created, UpdatedAt: p.Updated,
	}}, nil
}

func (s *Server) listPolicies(ctx context.Context, caller vault.Caller, req *api.PolicyListRequest) (api.PolicyListResponse, error) {
	list, err := s.vault.ListPolicies(ctx, caller, req)
	if err != nil {
		return api.PolicyListResponse{}, err
	}
	res := api.PolicyListResponse{Policies: make([]api.PolicyListItem, 0, len(list))}
	for _, p := range list {
		res.Policies = append(res.Policies, api.PolicyListItem{ID: p.Name, Name: p.Name})
	}
	return res, nil
}

func (s *Server) deletePolicy(ctx context.Context, caller vault.Caller, req *api.PolicyRequest) (api.PolicyDeleteResponse, error) {
	return api.PolicyDeleteResponse{}, s.vault.DeletePolicy(ctx, caller, req)
}
