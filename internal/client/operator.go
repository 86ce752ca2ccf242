package client

import (
	"context"

	"github.com/spiffe/spike/internal/api"
)

// OperatorInit makes a new cluster out of an empty store. It needs the
// superuser role.
func (c *Client) OperatorInit(ctx context.Context) (api.OperatorInitResponse, error) {
	var out api.OperatorInitResponse
	err := c.call(ctx, route{"operator init", api.PathOperatorInit, ""}, api.OperatorInitRequest{}, &out)
	return out, err
}

// OperatorStatus returns the state of Nexus and its Keepers. It needs the
// superuser role.
func (c *Client) OperatorStatus(ctx context.Context) (api.OperatorStatusResponse, error) {
	var out api.OperatorStatusResponse
	err := c.call(ctx, route{"operator status", api.PathOperatorStatus, ""}, api.OperatorStatusRequest{}, &out)
	return out, err
}

// OperatorRecover returns every recovery shard, for the caller to wipe. It
// needs the recover role.
func (c *Client) OperatorRecover(ctx context.Context) (api.OperatorRecoverResponse, error) {
	var out api.OperatorRecoverResponse
	err := c.call(ctx, route{"operator recover", api.PathOperatorRecover, ""}, api.OperatorRecoverRequest{}, &out)
	return out, err
}

// OperatorRestore feeds one recovery shard in. It needs the restore role.
func (c *Client) OperatorRestore(ctx context.Context, shard api.OperatorRestoreRequest) (api.OperatorRestoreResponse, error) {
	var out api.OperatorRestoreResponse
	err := c.call(ctx, route{"operator restore", api.PathOperatorRestore, ""}, shard, &out)
	return out, err
}
