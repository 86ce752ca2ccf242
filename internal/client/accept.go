package client

import (
	"context"

	"github.com/spiffe/spike/internal/api"
)

// OperatorAccept has Nexus serve a store that is behind what a Keeper was told of
// it, at the sequence that its status shows. What came after is lost. It needs the
// superuser role.
func (c *Client) OperatorAccept(ctx context.Context, sequence int64) (api.OperatorAcceptResponse, error) {
	var out api.OperatorAcceptResponse
	err := c.call(ctx, route{"operator accept", api.PathOperatorAccept, ""}, api.OperatorAcceptRequest{Sequence: sequence}, &out)
	return out, err
}
