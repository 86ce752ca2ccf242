package server

import (
	"context"
	"net/http"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// route is one operation of the API: a path with an action.
type route struct {
	path, action string
	serve        func(*Server, *exchange)
}

// routes lists everything that Nexus answers. Each goes through the vault, which
// decides and audits; a test walks this list to see that none does not.
func routes() []route {
	return []route{
		{api.PathSecret, api.ActionPut, handle((*Server).putSecret)},
		{api.PathSecret, api.ActionGet, handle((*Server).getSecret)},
		{api.PathSecret, api.ActionList, handle((*Server).listSecrets)},
		{api.PathSecret, api.ActionDelete, handle((*Server).deleteSecret)},
		{api.PathSecret, api.ActionUndelete, handle((*Server).undeleteSecret)},
		{api.PathSecret, api.ActionDestroy, handle((*Server).destroySecret)},
		{api.PathSecretMetadata, api.ActionGet, handle((*Server).getMetadata)},
		{api.PathPolicy, api.ActionPut, handle((*Server).putPolicy)},
		{api.PathPolicy, api.ActionGet, handle((*Server).getPolicy)},
		{api.PathPolicy, api.ActionList, handle((*Server).listPolicies)},
		{api.PathPolicy, api.ActionDelete, handle((*Server).deletePolicy)},
		{api.PathCipherEncrypt, api.ActionPut, either(encryptStream, handle((*Server).encrypt))},
		{api.PathCipherDecrypt, api.ActionPut, either(decryptStream, handle((*Server).decrypt))},
		{api.PathOperatorInit, api.ActionPut, handle((*Server).operatorInit)},
		{api.PathOperatorStatus, api.ActionPut, handle((*Server).operatorStatus)},
		{api.PathOperatorAccept, api.ActionPut, handle((*Server).operatorAccept)},
		{api.PathOperatorRecover, api.ActionPut, handle((*Server).operatorRecover)},
		{api.PathOperatorRestore, api.ActionPut, handle((*Server).operatorRestore)},
		{api.PathOperatorBackup, api.ActionPut, operatorBackup},
		{api.PathOperatorLoad, api.ActionPut, operatorLoad},
		{api.PathOperatorKeeper, api.ActionPut, handle((*Server).operatorKeeper)},
	}
}

// secretsOnly reports whether a route is about secrets or policies, which a
// store that keeps none does not have.
func (r *route) secretsOnly() bool {
	switch r.path {
	case api.PathSecret, api.PathSecretMetadata, api.PathPolicy:
		return true
	}
	return false
}

// answer is what a route answers with: a wire type whose Err can be set.
type answer[T any] interface {
	*T
	SetErr(api.Code)
}

// handle makes a route of a function from request to answer.
func handle[Req, Res any, A answer[Res]](f func(*Server, context.Context, vault.Caller, *Req) (Res, error)) func(*Server, *exchange) {
	return func(s *Server, x *exchange) {
		var both struct { // what is one needs memory once
			req Req
			res Res
		}
		err := x.decode(&both.req, s.bodyLimit(x.r.URL.Path))
		if err == nil {
			both.res, err = f(s, x.r.Context(), x.caller, &both.req)
		}
		if err != nil {
			status, code := x.fail(err)
			var empty Res
			A(&empty).SetErr(code)
			x.reply(status, &empty)
			return
		}
		x.reply(http.StatusOK, &both.res)
	}
}

func (s *Server) putSecret(ctx context.Context, caller vault.Caller, req *api.SecretPutRequest) (api.SecretPutResponse, error) {
	version, err := s.vault.PutSecret(ctx, caller, req)
	if err != nil || req.Return != "version" {
		return api.SecretPutResponse{}, err
	}
	return api.SecretPutResponse{Version: version}, nil
}

func (s *Server) getSecret(ctx context.Context, caller vault.Caller, req *api.SecretGetRequest) (secretAnswer, error) {
	values, err := s.vault.GetSecret(ctx, caller, req)
	return secretAnswer{data: values}, err
}

func (s *Server) listSecrets(ctx context.Context, caller vault.Caller, req *api.SecretListRequest) (listAnswer, error) {
	keys, err := s.vault.ListSecrets(ctx, caller, req)
	return listAnswer{keys: keys}, err
}

func (s *Server) deleteSecret(ctx context.Context, caller vault.Caller, req *api.SecretVersionsRequest) (api.SecretVersionsResponse, error) {
	return api.SecretVersionsResponse{}, s.vault.DeleteSecret(ctx, caller, req)
}

func (s *Server) undeleteSecret(ctx context.Context, caller vault.Caller, req *api.SecretVersionsRequest) (api.SecretVersionsResponse, error) {
	return api.SecretVersionsResponse{}, s.vault.UndeleteSecret(ctx, caller, req)
}

func (s *Server) destroySecret(ctx context.Context, caller vault.Caller, req *api.SecretVersionsRequest) (api.SecretVersionsResponse, error) {
	return api.SecretVersionsResponse{}, s.vault.DestroySecret(ctx, caller, req)
}

func (s *Server) getMetadata(ctx context.Context, caller vault.Caller, req *api.SecretGetRequest) (api.SecretMetadataResponse, error) {
	return s.vault.GetMetadata(ctx, caller, req)
}

func (s *Server) operatorInit(ctx context.Context, caller vault.Caller, _ *api.OperatorInitRequest) (api.OperatorInitResponse, error) {
	return s.operator.Init(ctx, caller)
}

func (s *Server) operatorStatus(ctx context.Context, caller vault.Caller, _ *api.OperatorStatusRequest) (api.OperatorStatusResponse, error) {
	return s.operator.Status(ctx, caller)
}

func (s *Server) operatorAccept(ctx context.Context, caller vault.Caller, req *api.OperatorAcceptRequest) (api.OperatorAcceptResponse, error) {
	return s.operator.Accept(ctx, caller, req)
}

func (s *Server) operatorRecover(ctx context.Context, caller vault.Caller, _ *api.OperatorRecoverRequest) (api.OperatorRecoverResponse, error) {
	return s.operator.Recover(ctx, caller)
}

func (s *Server) operatorRestore(ctx context.Context, caller vault.Caller, req *api.OperatorRestoreRequest) (api.OperatorRestoreResponse, error) {
	return s.operator.Restore(ctx, caller, req)
}

func (s *Server) operatorKeeper(ctx context.Context, caller vault.Caller, req *api.OperatorKeeperRequest) (api.OperatorKeeperResponse, error) {
	return s.operator.Replace(ctx, caller, req)
}
