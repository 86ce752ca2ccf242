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

// SecretMetadata returns what is known of a secret beside its values. A version
// other than 0 must be there and not be deleted.
func (c *Client) SecretMetadata(ctx context.Context, path string, version int) (api.SecretMetadataResponse, error) {
	to := route{"secret metadata get", api.PathSecretMetadata, api.ActionGet}
	var out api.SecretMetadataResponse
	err := c.call(ctx, to, api.SecretGetRequest{Path: path, Version: version}, &out)
	if err == nil && len(out.Versions) == 0 {
		err = &Error{Op: to.op, Err: fmt.Errorf("%w: a secret without versions", ErrProtocol)}
	}
	return out, err
}

// SecretDelete stamps versions as deleted, so that [Client.SecretUndelete] brings
// them back. 0, or no version at all, is the current one. Versions that are not
// there are passed over.
func (c *Client) SecretDelete(ctx context.Context, path string, versions ...int) error {
	return c.versions(ctx, route{"secret delete", api.PathSecret, api.ActionDelete}, path, versions)
}

// SecretUndelete makes deleted versions readable again.
func (c *Client) SecretUndelete(ctx context.Context, path string, versions ...int) error {
	return c.versions(ctx, route{"secret undelete", api.PathSecret, api.ActionUndelete}, path, versions)
}

// SecretDestroy removes the values of versions for good. At least one must be
// named.
func (c *Client) SecretDestroy(ctx context.Context, path string, versions ...int) error {
	return c.versions(ctx, route{"secret destroy", api.PathSecret, api.ActionDestroy}, path, versions)
}

func (c *Client) versions(ctx context.Context, to route, path string, versions []int) error {
	if versions == nil {
		versions = []int{} // in JSON [] and not null
	}
	var out api.SecretVersionsResponse
	return c.call(ctx, to, api.SecretVersionsRequest{Path: path, Versions: versions}, &out)
}
