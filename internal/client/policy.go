package client

import (
	"context"
	"fmt"

	"github.com/spiffe/spike/internal/api"
)

// PolicyPut creates a policy, or replaces the one of that name.
func (c *Client) PolicyPut(ctx context.Context, put api.PolicyPutRequest) error {
	var out api.PolicyPutResponse
	return c.call(ctx, route{"policy put", api.PathPolicy, api.ActionPut}, put, &out)
}

// PolicyGet returns the policy of that name.
func (c *Client) PolicyGet(ctx context.Context, name string) (api.Policy, error) {
	to := route{"policy get", api.PathPolicy, api.ActionGet}
	var out api.PolicyGetResponse
	err := c.call(ctx, to, api.PolicyRequest{ID: name}, &out)
	if err == nil && out.Name != name {
		err = &Error{Op: to.op, Err: fmt.Errorf("%w: another policy than the one asked for", ErrProtocol)}
	}
	return out.Policy, err
}

// PolicyList returns the policies' names in order: of all, or of those whose
// patterns are exactly the ones in list.
func (c *Client) PolicyList(ctx context.Context, list api.PolicyListRequest) ([]string, error) {
	var out api.PolicyListResponse
	if err := c.call(ctx, route{"policy list", api.PathPolicy, api.ActionList}, list, &out); err != nil {
		return nil, err
	}
	names := make([]string, len(out.Policies))
	for i, p := range out.Policies {
		names[i] = p.Name
	}
	return names, nil
}

// PolicyDelete removes the policy of that name.
func (c *Client) PolicyDelete(ctx context.Context, name string) error {
	var out api.PolicyDeleteResponse
	return c.call(ctx, route{"policy delete", api.PathPolicy, api.ActionDelete}, api.PolicyRequest{ID: name}, &out)
}
