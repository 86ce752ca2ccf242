package client

import (
	"context"

	"github.com/spiffe/spike/internal/api"
)

// OperatorKeeper says where Keepers are from now on: URLs, by the indexes of their
// shares. It needs the superuser role.
func (c *Client) OperatorKeeper(ctx context.Context, urls map[int]string) (api.OperatorKeeperResponse, error) {
	var out api.OperatorKeeperResponse
	err := c.call(ctx, route{"operator keeper", api.PathOperatorKeeper, ""}, api.OperatorKeeperRequest{Replace: urls}, &out)
	return out, err
}
