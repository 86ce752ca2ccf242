package server

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// streamHead is what precedes the ciphertext in a stream: version and nonce.
const streamHead = 1 + api.CipherNonce

// bodyLimit is how many bytes a route's JSON body may have.
func (s *Server) bodyLimit(path string) int64 {
	switch path {
	case api.PathCipherEncrypt, api.PathCipherDecrypt:
		// Base64 makes 4 characters of 3 bytes; the rest is for the other fields.
		return int64(s.maxCiphertext)*4/3 + 1024
	}
	return api.MaxBody
}

// either serves a request by its content type: bytes as they are, or JSON.
func either(stream, json func(*Server, *exchange)) func(*Server, *exchange) {
	return func(s *Server, x *exchange) {
		kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
		if err == nil && kind == api.OctetStream {
			stream(s, x)
			return
		}
		json(s, x)
	}
}

// checkCipher checks what both directions have in common.
func (s *Server) checkCipher(algorithm string, ciphertext int) error {
	if algorithm != "" && algorithm != api.CipherAlgorithm {
		return errors.New("the algorithm is not " + api.CipherAlgorithm)
	}
	if ciphertext > s.maxCiphertext {
		return fmt.Errorf("a ciphertext of %d bytes; %d is the most", ciphertext, s.maxCiphertext)
	}
	return nil
}

func checkVersion(version int) error {
	if version != api.CipherVersion {
		return fmt.Errorf("version %d is not known", version)
	}
	return nil
}

func (s *Server) encrypt(ctx context.Context, caller vault.Caller, req *api.CipherEncryptRequest) (api.CipherEncryptResponse, error) {
	defer clear(req.Plaintext)
	check := s.checkCipher(req.Algorithm, len(req.Plaintext)+api.CipherTag)
	if req.Plaintext == nil {
		check = errors.Join(check, errors.New("there is no plaintext"))
	}
	out, err := s.vault.Encrypt(ctx, caller, req.Plaintext, check)
	if err != nil {
		return api.CipherEncryptResponse{}, err
	}
	return api.CipherEncryptResponse{Version: api.CipherVersion, Nonce: out.Nonce, Ciphertext: out.Ciphertext}, nil
}

func (s *Server) decrypt(ctx context.Context, caller vault.Caller, req *api.CipherDecryptRequest) (api.CipherDecryptResponse, error) {
	check := errors.Join(checkVersion(req.Version), s.checkCipher(req.Algorithm, len(req.Ciphertext)))
	plaintext, err := s.vault.Decrypt(ctx, caller, vault.Encrypted{Nonce: req.Nonce, Ciphertext: req.Ciphertext}, check)
	if err != nil {
		return api.CipherDecryptResponse{}, err
	}
	if plaintext == nil {
		plaintext = []byte{} // it was empty, which is not the same as absent
	}
	return api.CipherDecryptResponse{Plaintext: plaintext}, nil
}

func encryptStream(s *Server, x *exchange) {
	body, err := x.stream(int64(s.maxCiphertext - api.CipherTag))
	if err != nil {
		x.refuse(err, &api.CipherEncryptResponse{})
		return
	}
	out, err := s.vault.Encrypt(x.r.Context(), x.caller, body, nil)
	clear(body)
	if err != nil {
		x.refuse(err, &api.CipherEncryptResponse{})
		return
	}
	x.bytes([]byte{api.CipherVersion}, out.Nonce, out.Ciphertext)
}

func decryptStream(s *Server, x *exchange) {
	body, err := x.stream(int64(s.maxCiphertext + streamHead))
	if err != nil {
		x.refuse(err, &api.CipherDecryptResponse{})
		return
	}
	var in vault.Encrypted
	if len(body) < streamHead {
		err = errors.New("it ends before the ciphertext begins")
	} else if err = checkVersion(int(body[0])); err == nil {
		in = vault.Encrypted{Nonce: body[1:streamHead], Ciphertext: body[streamHead:]}
	}
	plaintext, err := s.vault.Decrypt(x.r.Context(), x.caller, in, err)
	if err != nil {
		x.refuse(err, &api.CipherDecryptResponse{})
		return
	}
	x.bytes(plaintext)
	clear(plaintext)
}

// stream reads a body that is not JSON. An empty one is a bad request.
func (x *exchange) stream(most int64) ([]byte, error) {
	body, err := x.read(most)
	if err != nil {
		return nil, bad("read the body", err)
	}
	if len(body) == 0 {
		return nil, bad("the body is empty", nil)
	}
	return body, nil
}

// refuse answers with an error, in JSON as everywhere.
func (x *exchange) refuse(err error, answer interface{ SetErr(api.Code) }) {
	status, code := x.fail(err)
	answer.SetErr(code)
	x.reply(status, answer)
}

// bytes answers with bytes as they are.
func (x *exchange) bytes(list ...[]byte) {
	x.w.Header().Set("Content-Type", api.OctetStream)
	x.write(http.StatusOK, list...)
}
