package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spiffe/spike/internal/api"
)

// ClientConfig configures a [Client].
type ClientConfig struct {
	URL  *url.URL
	HTTP *http.Client // see NewHTTPClient; shared by the clients of all Keepers
	// Timeout bounds one call, from connecting to the answer's last byte; 2 s
	// unless set.
	Timeout time.Duration
}

// Client is Nexus's end of the share protocol, for one Keeper. Every error names
// the Keeper and is one of this package's, but that a call whose context was
// canceled returns [context.Canceled] and says nothing about the Keeper.
type Client struct {
	url     *url.URL
	http    *http.Client
	timeout time.Duration
}

// NewClient returns a client for the Keeper at config.URL.
func NewClient(config ClientConfig) *Client {
	c := &Client{url: config.URL, http: config.HTTP, timeout: config.Timeout}
	if c.timeout == 0 {
		c.timeout = 2 * time.Second
	}
	return c
}

// URL returns the Keeper's address.
func (c *Client) URL() *url.URL { return c.url }

// Held returns what the Keeper holds. The caller wipes it. An empty Keeper is
// no error: its slots are nil.
func (c *Client) Held(ctx context.Context) (Held, error) {
	var held Held
	err := c.call(ctx, PathShard, []byte("{}"), func(answer []byte) (err error) {
		held, err = decodeHeld(answer)
		return err
	})
	return held, err
}

// Contribute puts share into the pending slot. A Keeper that has an active share
// needs sign, by that share's root key; so it is with Promote and Erase.
func (c *Client) Contribute(ctx context.Context, share Share, instance string, sign Signer) error {
	defer clear(share.Value[:])
	signature, err := signed(sign, ContributeMessage(instance, &share))
	if err != nil {
		return c.errorf(PathContribute, err)
	}
	content, err := encodeContribute(&share, signature)
	if err != nil {
		return c.errorf(PathContribute, err)
	}
	return c.call(ctx, PathContribute, content, nil)
}

// Promote makes the pending share of root key keyID the active one.
func (c *Client) Promote(ctx context.Context, keyID, instance string, sign Signer) error {
	signature, err := signed(sign, PromoteMessage(instance, keyID))
	if err != nil {
		return c.errorf(PathPromote, err)
	}
	return c.send(ctx, PathPromote, &promoteRequest{KeyID: keyID, Signature: signature})
}

// Erase empties the Keeper, whose active share is the one that tag is of.
func (c *Client) Erase(ctx context.Context, instance string, tag *Tag, sign Signer) error {
	signature, err := signed(sign, EraseMessage(instance, tag))
	if err != nil {
		return c.errorf(PathErase, err)
	}
	return c.send(ctx, PathErase, &eraseRequest{Signature: signature})
}

// Anchor tells the Keeper how far the store has come. A signature over
// [AnchorMessage] is in a already.
func (c *Client) Anchor(ctx context.Context, a Anchor) error {
	return c.send(ctx, PathAnchor, &a)
}

func signed(sign Signer, message []byte) ([]byte, error) {
	if sign == nil {
		return nil, nil
	}
	signature, err := sign(message)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature, nil
}

// send makes a call whose body holds nothing to wipe.
func (c *Client) send(ctx context.Context, path string, request any) error {
	content, err := json.Marshal(request)
	if err != nil {
		return c.errorf(path, fmt.Errorf("encode request: %w", err))
	}
	return c.call(ctx, path, content, nil)
}

// call posts content, which it wipes, and hands a good answer to use.
func (c *Client) call(ctx context.Context, path string, content []byte, use func(answer []byte) error) error {
	b := &body{content: content}
	defer b.wipe()
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	status, answer, err := c.post(limited, path, b)
	defer clear(answer)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return c.errorf(path, ctx.Err())
	case err != nil:
		return c.errorf(path, err)
	}
	return c.errorf(path, judge(path, status, answer, use))
}

func (c *Client) post(ctx context.Context, path string, b *body) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.JoinPath(path).String(), b.reader())
	if err != nil {
		return 0, nil, fmt.Errorf("make request: %w", err)
	}
	req.ContentLength = int64(len(b.content))
	req.GetBody = func() (io.ReadCloser, error) { return b.reader(), nil }
	req.Header.Set("Content-Type", "application/json")
	// Doing any of these twice does what doing it once does. This tells the
	// transport so, and is not sent: it may try again on a new connection when a
	// Keeper's restart has ended the one that was kept.
	req.Header["Idempotency-Key"] = nil
	res, err := c.http.Do(req)
	if err != nil {
		// The URL that url.Error repeats is in our own error already.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return 0, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	// Nothing is left to lose by a failed close of an answer that was read.
	defer func() { _ = res.Body.Close() }()
	answer, err = readBody(res.Body, res.ContentLength)
	if errors.Is(err, errTooLong) {
		return 0, nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	} else if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return res.StatusCode, answer, nil
}

// judge turns an answer into an error, or hands it to use.
func judge(path string, status int, answer []byte, use func([]byte) error) error {
	var refusal struct {
		Err api.Code `json:"err"`
	}
	if err := decode(answer, &refusal); err != nil {
		return fmt.Errorf("%w: status %d: %w", ErrProtocol, status, err)
	}
	if status == http.StatusOK && refusal.Err == "" {
		if use == nil {
			return nil
		}
		return use(answer)
	}
	err := fromWire(status, refusal.Err)
	if !errors.Is(err, errEmpty) {
		return err
	}
	if path != PathShard {
		return fmt.Errorf("%w: status %d", ErrProtocol, status)
	}
	return use(answer)
}

func (c *Client) errorf(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("keeper %s: %s: %w", c.url.Host, path, err)
}
