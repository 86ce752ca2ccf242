// Package ceiling is the least that a Go server over mutual TLS can do: it decodes
// a request and answers a constant. What Nexus does is measured by it.
package ceiling

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/spiffe/spike/internal/mtls"
)

// The answers, as long as those that Nexus gives to the same requests.
const (
	Value       = "ceiling ceiling ceiling ceiling ceiling ceiling ceiling ceiling!" // 64 bytes
	ReadAnswer  = `{"data":{"value":"` + Value + `"}}`
	WriteAnswer = `{}`
)

// handler decodes by encoding/json into a struct, and does no other work.
func handler() http.Handler {
	read, write := []byte(ReadAnswer), []byte(WriteAnswer)
	contentType := []string{"application/json"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		answer := write
		if strings.HasPrefix(r.URL.RawQuery, "action=") {
			var req struct {
				Path    string `json:"path"`
				Version int    `json:"version"`
			}
			answer = read
			err = json.NewDecoder(r.Body).Decode(&req)
		} else {
			var req struct {
				Path   string            `json:"path"`
				Values map[string]string `json:"values"`
			}
			err = json.NewDecoder(r.Body).Decode(&req)
		}
		if err != nil {
			http.Error(w, "not what was expected", http.StatusBadRequest)
			return
		}
		// Named, it is not guessed from the answer, which would be work.
		w.Header()["Content-Type"] = contentType
		// A client that has gone hears of nothing.
		_, _ = w.Write(answer)
	})
}

// Serve answers on l until ctx ends, with the TLS settings and the times that
// Nexus has.
func Serve(ctx context.Context, l net.Listener, svid x509svid.Source, bundles x509bundle.Source) error {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler:           handler(),
		TLSConfig:         mtls.ServerTLS(svid, bundles, func(spiffeid.ID) bool { return true }),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for its last answers
	defer stop()
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
