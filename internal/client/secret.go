package client

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/spiffe/spike/internal/api"
)

// SecretPut writes a new version of a secret. What the answer has beyond
// success depends on the request's Return.
func (c *Client) SecretPut(ctx context.Context, put api.SecretPutRequest) (api.SecretPutResponse, error) {
	to := route{"secret put", api.PathSecret, api.ActionPut}
	// JSON has no other text, and the encoder would store something else silently.
	for key, value := range put.Values {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return api.SecretPutResponse{}, &Error{
				Op: to.op, Err: fmt.Errorf("%w: a key or value is not UTF-8 text", ErrUnsendable),
			}
		}
	}
	var out api.SecretPutResponse
	err := c.call(ctx, to, put, &out)
	return out, err
}

// SecretGet returns the values of one version of a secret; version 0 is the
// current one.
func (c *Client) SecretGet(ctx context.Context, path string, version int) (api.Values, error) {
	to := route{"secret get", api.PathSecret, api.ActionGet}
	var out api.SecretGetResponse
	if err := c.call(ctx, to, api.SecretGetRequest{Path: path, Version: version}, &out); err != nil {
		return nil, err
	}
	if out.Data == nil {
		return nil, &Error{Op: to.op, Err: fmt.Errorf("%w: a success without data", ErrProtocol)}
	}
	return out.Data, nil
}

// SecretList returns the paths of all secrets in byte order.
func (c *Client) SecretList(ctx context.Context) ([]string, error) {
	var out api.SecretListResponse
	err := c.call(ctx, route{"secret list", api.PathSecret, api.ActionList}, api.SecretListRequest{}, &out)
	return out.Keys, err
}
