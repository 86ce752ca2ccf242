package ceiling_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/app/bench/internal/ceiling"
	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/mtls"
)

func TestCeiling(t *testing.T) {
	t.Parallel()
	domain := identitytest.NewDomain(t, "spike.ist")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	source := domain.Source("/spike/nexus")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- ceiling.Serve(ctx, listener, source, source) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	post := func(source *identitytest.Source, target, body string) (int, string, error) {
		transport := &http.Transport{TLSClientConfig: mtls.ClientConfig(source, domain.Source("/x"), func(spiffeid.ID) bool { return true })}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Post("https://"+listener.Addr().String()+target, "application/json", strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = res.Body.Close() }()
		if res.TLS.Version != 0x0304 || res.TLS.DidResume {
			t.Errorf("TLS version %x, resumed %v", res.TLS.Version, res.TLS.DidResume)
		}
		answer, err := io.ReadAll(res.Body)
		return res.StatusCode, string(answer), err
	}
	for _, tc := range []struct {
		target, body, want string
		status             int
	}{
		{"/v1/store/secrets?action=get", `{"path":"a","version":0}`, ceiling.ReadAnswer, 200},
		{"/v1/store/secrets", `{"path":"a","values":{"k":"v"}}`, ceiling.WriteAnswer, 200},
		{"/v1/store/secrets", `{"path":7}`, "", 400},
		{"/v1/store/secrets?action=get", `{"path"`, "", 400},
	} {
		status, answer, err := post(domain.Source("/bench/1"), tc.target, tc.body)
		if err != nil || status != tc.status || tc.want != "" && answer != tc.want {
			t.Errorf("%s: %d %q, %v", tc.body, status, answer, err)
		}
	}
	stranger := identitytest.NewDomain(t, "away.example").Source("/x")
	if _, answer, err := post(stranger, "/v1/store/secrets", "{}"); err == nil {
		t.Errorf("a stranger was answered %q", answer)
	}
	if n := len(ceiling.Value); n != 64 {
		t.Errorf("the value has %d bytes", n)
	}
}
