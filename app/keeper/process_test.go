package main

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/keeper"
)

// binary is a Keeper as it is shipped, built once for all tests of the package.
// Without grpcnotrace grpc links its request tracing, and html/template with it:
// 2.4 MB that are never used, and resident all the same.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "keeper-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "keeper")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-tags=grpcnotrace", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if path, _ := binary(); path != "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

type keeperProcess struct {
	t       *testing.T
	cmd     *exec.Cmd
	stderr  *lockedBuffer
	done    chan struct{} // closed once it has ended
	waitErr error
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs the binary with nothing but the settings given.
func start(t *testing.T, env []string, args ...string) *keeperProcess {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &keeperProcess{t: t, cmd: exec.Command(path, args...), stderr: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append([]string{"SPIKE_SYSTEM_LOG_LEVEL=INFO"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stderr, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.waitErr = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of keeper:\n%s", p.stderr)
		}
		// It may have ended already.
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

// says waits until the process has written what re matches.
func (p *keeperProcess) says(re string) []string {
	p.t.Helper()
	pattern := regexp.MustCompile(re)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if m := pattern.FindStringSubmatch(p.stderr.String()); m != nil {
			return m
		}
		select {
		case <-p.done:
			if m := pattern.FindStringSubmatch(p.stderr.String()); m != nil {
				return m
			}
			p.t.Fatalf("keeper ended (%v) without saying %q", p.waitErr, re)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("keeper does not say %q", re)
		}
	}
}

// ends waits for the end and returns the exit code.
func (p *keeperProcess) ends() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Fatal("keeper does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// freeAddress returns an address that was free a moment ago: unlike a test, a
// Keeper must be told its port, and health must be told the same.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// running starts a Keeper with an identity and waits until it serves.
func running(t *testing.T, domain *identitytest.Domain) (p *keeperProcess, address string, env []string) {
	t.Helper()
	socket, _ := startProvider(t, domain,
		domain.SVID("/spike/nexus", time.Hour), domain.SVID("/spike/keeper", time.Hour))
	address = freeAddress(t)
	env = []string{"SPIFFE_ENDPOINT_SOCKET=" + socket, "SPIKE_KEEPER_TLS_PORT=" + address}
	p = start(t, env)
	p.says("keeper started, empty.* id=spiffe://spike.ist/spike/keeper ")
	return p, address, env
}

func nexus(t *testing.T, domain *identitytest.Domain, address string) *keeper.Client {
	client, _ := nexusOf(t, domain.Source("/spike/nexus"), address)
	return client
}

// nexusOf returns a client with connections of its own, and what ends them.
func nexusOf(t *testing.T, source *identitytest.Source, address string) (client *keeper.Client, hangUp func()) {
	httpClient := keeper.NewHTTPClient(source, source, func(id spiffeid.ID) bool { return id.Path() == "/spike/keeper" })
	t.Cleanup(httpClient.CloseIdleConnections)
	return keeper.NewClient(keeper.ClientConfig{
		URL: &url.URL{Scheme: "https", Host: address}, HTTP: httpClient, Timeout: 10 * time.Second,
	}), httpClient.CloseIdleConnections
}

// share returns a share whose value is easy to find in any output, and the key
// that belongs to it.
func share(keyID string) (keeper.Share, keeper.Signer) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte(keyID[:1]), ed25519.SeedSize))
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		panic("an Ed25519 key has an Ed25519 public key")
	}
	s := keeper.Share{Tag: keeper.Tag{
		Format: keeper.Format, Cluster: strings.Repeat("c", 32), KeyID: strings.Repeat(keyID, 32),
		Set: keeper.SetKeeper, Index: 2, Threshold: 2, Count: 3, PublicKey: public,
	}}
	copy(s.Value[:], canary)
	return s, func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }
}

const canary = "canary-0815-canary-0815-canary--"
