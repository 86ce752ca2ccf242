package client

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/spiffe/spike/internal/api"
)

const (
	// maxCipher is more than any Nexus can be set to take (4 MiB), so that its answer
	// and not ours says what is too large.
	maxCipher = 5 << 20
	// atOnce is what a server reads of a body that it refuses. A larger one waits for
	// its go-ahead: a refusal in the middle would be lost.
	atOnce = 64 << 10
)

// Encrypt encrypts plaintext with a key that never leaves Nexus. What it returns is
// what Decrypt takes.
func (c *Client) Encrypt(ctx context.Context, plaintext []byte) (api.CipherEncryptResponse, error) {
	to := route{"cipher encrypt", api.PathCipherEncrypt, ""}
	if plaintext == nil {
		plaintext = []byte{} // in JSON "" and not null
	}
	var out api.CipherEncryptResponse
	err := c.call(ctx, to, api.CipherEncryptRequest{Plaintext: plaintext}, &out)
	if err == nil && (len(out.Nonce) != api.CipherNonce || len(out.Ciphertext) != len(plaintext)+api.CipherTag) {
		err = &Error{Op: to.op, Err: fmt.Errorf("%w: not what this plaintext becomes", ErrProtocol)}
	}
	return out, err
}

// Decrypt returns the plaintext, for the caller to wipe.
func (c *Client) Decrypt(ctx context.Context, in api.CipherDecryptRequest) ([]byte, error) {
	to := route{"cipher decrypt", api.PathCipherDecrypt, ""}
	var out api.CipherDecryptResponse
	if err := c.call(ctx, to, in, &out); err != nil {
		return nil, err
	}
	if len(out.Plaintext)+api.CipherTag != len(in.Ciphertext) {
		clear(out.Plaintext)
		return nil, &Error{Op: to.op, Err: fmt.Errorf("%w: not what this ciphertext can be of", ErrProtocol)}
	}
	return out.Plaintext, nil
}

// EncryptStream is Encrypt without JSON: it returns one version byte, the nonce,
// and the ciphertext with its tag.
func (c *Client) EncryptStream(ctx context.Context, plaintext []byte) ([]byte, error) {
	return c.bytes(ctx, route{"cipher encrypt", api.PathCipherEncrypt, ""}, plaintext, len(plaintext)+streamExtra)
}

// DecryptStream takes what EncryptStream returned. The plaintext is for the caller
// to wipe.
func (c *Client) DecryptStream(ctx context.Context, stream []byte) ([]byte, error) {
	return c.bytes(ctx, route{"cipher decrypt", api.PathCipherDecrypt, ""}, stream, len(stream)-streamExtra)
}

// streamExtra is by how much a stream is longer than its plaintext.
const streamExtra = 1 + api.CipherNonce + api.CipherTag

// bytes sends a body that is no JSON, and wants one of a known length.
func (c *Client) bytes(ctx context.Context, to route, body []byte, want int) (out []byte, err error) {
	if len(body) > maxCipher {
		return nil, &Error{Op: to.op, Err: fmt.Errorf("%w: it has %d bytes; Nexus takes less than %d", ErrUnsendable, len(body), maxCipher)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	t := transfer{
		path: to.path, body: bytes.NewReader(body), length: int64(len(body)), kind: api.OctetStream, transport: c.transport,
		receive: func(status int, kind string, answer io.Reader) (err error) {
			if status != http.StatusOK || kind != api.OctetStream {
				err := receiveJSON(status, answer, &api.CipherDecryptResponse{})
				return cmp.Or(err, fmt.Errorf("%w: a success that is not bytes", ErrProtocol))
			}
			if out, err = io.ReadAll(io.LimitReader(answer, maxCipher+1)); err != nil {
				return err
			}
			if len(out) != want {
				return fmt.Errorf("%w: %d bytes, and it should be %d", ErrProtocol, len(out), want)
			}
			return nil
		},
	}
	if len(body) > atOnce {
		t.expect = true
		t.transport = c.transport.Clone()
		t.transport.ExpectContinueTimeout = goAhead
		defer t.transport.CloseIdleConnections()
	}
	id, err := c.transfer(ctx, t)
	if err != nil {
		clear(out)
		return nil, &Error{Op: to.op, RequestID: id, Err: err}
	}
	return out, nil
}
