package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/identitytest"
)

func TestCipherJSON(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	const nonce = `"AAAAAAAAAAAAAAAA"`
	out, err := scripted(t, domain, `/v1/cipher/encrypt {"plaintext":"aGk="}`,
		`{"version":1,"nonce":`+nonce+`,"ciphertext":"AAAAAAAAAAAAAAAAAAAAAAAA"}`).Encrypt(t.Context(), []byte("hi"))
	if err != nil || out.Version != 1 || len(out.Ciphertext) != 18 {
		t.Errorf("encrypt: %+v, %v", out, err)
	}
	_, err = scripted(t, domain, `/v1/cipher/encrypt {"plaintext":""}`,
		`{"version":1,"nonce":`+nonce+`,"ciphertext":"AAAA"}`).Encrypt(t.Context(), nil)
	if !errors.Is(err, client.ErrProtocol) {
		t.Errorf("a ciphertext without a tag: %v", err)
	}
	in := api.CipherDecryptRequest{Version: 1, Nonce: make([]byte, 12), Ciphertext: make([]byte, 18)}
	const sent = `/v1/cipher/decrypt {"version":1,"nonce":` + nonce + `,"ciphertext":"AAAAAAAAAAAAAAAAAAAAAAAA"}`
	plain, err := scripted(t, domain, sent, `{"plaintext":"aGk="}`).Decrypt(t.Context(), in)
	if err != nil || string(plain) != "hi" {
		t.Errorf("decrypt: %q, %v", plain, err)
	}
	_, err = scripted(t, domain, sent, `{}`).Decrypt(t.Context(), in)
	if !errors.Is(err, client.ErrProtocol) {
		t.Errorf("a success without a plaintext: %v", err)
	}
}

// TestCipherStream has small bodies, which are sent at once, and large ones, which
// wait until the server wants them: its refusal must arrive.
func TestCipherStream(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	for name, test := range map[string]struct {
		size   int
		status int
		kind   string
		answer []byte
		read   bool
		want   error
	}{
		"small":                 {10, 200, api.OctetStream, make([]byte, 39), true, nil},
		"large":                 {3 << 20, 200, api.OctetStream, make([]byte, 3<<20+29), true, nil},
		"too large there":       {3 << 20, 400, "application/json", []byte(`{"err":"api_bad_request"}`), false, api.ErrBadRequest},
		"too large anywhere":    {6 << 20, 200, "", nil, false, client.ErrUnsendable},
		"denied":                {10, 401, "application/json", []byte(`{"err":"access_unauthorized"}`), true, api.ErrUnauthorized},
		"cut off":               {10, 200, api.OctetStream, make([]byte, 38), true, client.ErrProtocol},
		"longer":                {10, 200, api.OctetStream, make([]byte, 40), true, client.ErrProtocol},
		"JSON and no bytes":     {10, 200, "application/json", []byte(`{"plaintext":"aGk="}`), true, client.ErrProtocol},
		"an error as bytes":     {10, 500, api.OctetStream, []byte("canary"), true, client.ErrProtocol},
		"something else":        {10, 200, "text/html", []byte("<html>canary"), true, client.ErrProtocol},
		"nothing in particular": {10, 200, "", nil, true, client.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			body := bytes.Repeat([]byte("x"), test.size)
			to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Content-Type") != api.OctetStream || r.ContentLength != int64(test.size) {
					t.Errorf("%s was sent %s, %d bytes", r.URL, r.Header.Get("Content-Type"), r.ContentLength)
				}
				if test.read {
					if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, body) {
						t.Errorf("%d bytes came, %v", len(got), err)
					}
				}
				w.Header().Set("Content-Type", test.kind)
				w.Header().Set(api.RequestIDHeader, "r-17")
				w.WriteHeader(test.status)
				_, _ = w.Write(test.answer)
			})
			out, err := dial(t, domain.Source("/alice"), to, 0).EncryptStream(t.Context(), body)
			if !errors.Is(err, test.want) || err == nil && !bytes.Equal(out, test.answer) {
				t.Fatalf("%d bytes, %v; want %v", len(out), err, test.want)
			}
			if err != nil && (out != nil || strings.Contains(err.Error(), "canary")) {
				t.Errorf("%q with %v", out, err)
			}
			if err != nil && !errors.Is(err, client.ErrUnsendable) && client.RequestID(err) != "r-17" {
				t.Errorf("request id %q", client.RequestID(err))
			}
		})
	}
	to := nexus(t, domain.Source("/spike/nexus"), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", api.OctetStream)
	})
	if out, err := dial(t, domain.Source("/alice"), to, 0).DecryptStream(t.Context(), make([]byte, 29)); err != nil || len(out) != 0 {
		t.Errorf("an empty plaintext: %q, %v", out, err)
	}
}
