package client

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/spiffe/spike/internal/api"
)

// pageSize is how many paths are asked for at once: few enough that a page is
// answered in milliseconds, enough that 100,000 of them take a hundred calls.
const pageSize = 1000

// SecretList returns one page of paths in byte order: those that begin with
// Prefix and come after After, at most Limit of them, or all when it is 0.
func (c *Client) SecretList(ctx context.Context, list api.SecretListRequest) ([]string, error) {
	to := route{"secret list", api.PathSecret, api.ActionList}
	var out api.SecretListResponse
	if err := c.call(ctx, to, list, &out); err != nil {
		return nil, err
	}
	if err := checkPage(&list, out.Keys); err != nil {
		return nil, &Error{Op: to.op, Err: err}
	}
	return out.Keys, nil
}

// checkPage holds a server to what it was asked for. One that knows no pages
// would otherwise send the same paths again and again.
func checkPage(list *api.SecretListRequest, keys []string) error {
	if list.Limit > 0 && len(keys) > list.Limit {
		return fmt.Errorf("%w: %d paths, and %d were asked for", ErrProtocol, len(keys), list.Limit)
	}
	last := list.After
	for _, key := range keys {
		if key <= last || !strings.HasPrefix(key, list.Prefix) {
			return fmt.Errorf("%w: a path that was not asked for, or not in order", ErrProtocol)
		}
		last = key
	}
	return nil
}

// SecretPaths goes through the paths that list asks for, page by page. A path
// that is written or removed meanwhile may be there or not. It ends with the
// first error.
func (c *Client) SecretPaths(ctx context.Context, list api.SecretListRequest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for left := list.Limit; ; {
			page := list
			page.Limit = pageSize
			if left > 0 {
				page.Limit = min(left, pageSize)
			}
			keys, err := c.SecretList(ctx, page)
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
			left -= len(keys)
			if len(keys) < page.Limit || list.Limit > 0 && left == 0 {
				return
			}
			list.After = keys[len(keys)-1]
		}
	}
}
