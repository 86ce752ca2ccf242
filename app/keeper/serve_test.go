package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/identitytest"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/process"
	"github.com/spiffe/spike/internal/role"
)

func TestLife(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	p, address, env := running(t, domain)
	ctx := t.Context()
	client := nexus(t, domain, address)
	held, err := client.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, sign := share("a")
	second, _ := share("b")
	for _, err := range []error{
		client.Contribute(ctx, first, held.Instance, nil),
		client.Promote(ctx, first.Tag.KeyID, held.Instance, nil),
		client.Contribute(ctx, second, held.Instance, sign),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Erase(ctx, held.Instance, &first.Tag, nil); !errors.Is(err, keeper.ErrHoldsShare) {
		t.Errorf("erase without a signature: %v", err)
	}
	again, err := client.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again.Active == nil || again.Active.Value != first.Value || again.Pending == nil || again.Instance != held.Instance {
		t.Errorf("got %+v", again)
	}

	if check := start(t, env, "health"); check.ends() != 0 {
		t.Errorf("health of a live Keeper: %s", check.stderr)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.ends(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	p.says("shares wiped")
	check := start(t, env, "health")
	if code := check.ends(); code != 1 {
		t.Errorf("health of a dead Keeper: exit code %d", code)
	}
	check.says("no Keeper answers at " + regexp.QuoteMeta(address))
	for _, said := range []string{"share contributed", "share promoted", `level=WARN msg="request refused"`} {
		p.says(said)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]")[:40]} {
		if strings.Contains(p.stderr.String(), form) {
			t.Errorf("the log shows the share: %s", p.stderr)
		}
	}
}

// TestMemory holds the Keeper, with go-spiffe and all, to its 18 MB.
func TestMemory(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	p, address, _ := running(t, domain)
	ctx := t.Context()
	client := nexus(t, domain, address)
	held, err := client.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, sign := share("a")
	if err := errors.Join(client.Contribute(ctx, first, held.Instance, nil),
		client.Promote(ctx, first.Tag.KeyID, held.Instance, nil)); err != nil {
		t.Fatal(err)
	}
	second, _ := share("b")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			source := domain.Source("/spike/nexus")
			client, hangUp := nexusOf(t, source, address)
			for i := range 1000 {
				if i%50 == 49 { // and with it a handshake
					hangUp()
					client, hangUp = nexusOf(t, source, address)
				}
				held, err := client.Held(ctx)
				if err := errors.Join(err, client.Contribute(ctx, second, held.Instance, sign)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	kilobytes := map[string]int{}
	for _, m := range regexp.MustCompile(`(Vm\w+|Rss\w+):\s+(\d+) kB`).FindAllStringSubmatch(string(status), -1) {
		if kilobytes[m[1]], err = strconv.Atoi(m[2]); err != nil {
			t.Fatal(err)
		}
	}
	resident := kilobytes["VmRSS"]
	t.Logf("resident: %d kB, %d kB of it anonymous; %d kB at most", resident, kilobytes["RssAnon"], kilobytes["VmHWM"])
	if resident == 0 || resident >= 18_000_000/1024 {
		t.Errorf("%d kB are resident: less than 18 MB is promised", resident)
	}
}

// TestStrangers: workloads that fill a Keeper with connections and announced
// bodies that never come keep neither Nexus nor the health check out.
func TestStrangers(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	_, address, env := running(t, domain)
	workloads := [...]*identitytest.Source{domain.Source("/web"), domain.Source("/db"), domain.Source("/queue")}
	for i := range 600 {
		source := workloads[i%len(workloads)]
		c, err := tls.Dial("tcp", address, mtls.ClientConfig(source, source, func(spiffeid.ID) bool { return true }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		// That it may be refused is the point.
		_, _ = fmt.Fprintf(c, "POST /v1/store/contribute HTTP/1.1\r\nHost: keeper\r\nContent-Length: 10\r\n\r\n")
	}
	client := nexus(t, domain, address)
	for range 3 {
		if _, err := client.Held(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if check := start(t, env, "health"); check.ends() != 0 {
		t.Errorf("health among strangers: %s", check.stderr)
	}
}

// TestAccounts: whoever is not served shares with all others who are not.
func TestAccounts(t *testing.T) {
	home := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("spike.ist")}
	all := append(home, spiffeid.RequireTrustDomainFromString("away.example"))
	of := account(role.Domains{Trusted: all, Nexus: home, Keeper: home, Pilot: home, Lite: home})
	seen := map[string]string{}
	for _, id := range []string{
		"spiffe://spike.ist/web", "spiffe://spike.ist/spike/pilot/role/superuser", "spiffe://away.example/spike/nexus",
		"spiffe://away.example/spike/keeper", "spiffe://spike.ist/spike/workload/role/lite",
		"spiffe://spike.ist/spike/nexus", "spiffe://spike.ist/spike/nexus/2",
		"spiffe://spike.ist/spike/keeper", "spiffe://spike.ist/spike/keeper/2",
	} {
		name := of(spiffeid.RequireFromString(id))
		seen[name] += " " + strings.TrimPrefix(id, "spiffe://")
	}
	if len(seen) != 4 || strings.Count(seen["others"], " ") != 5 {
		t.Errorf("got %v", seen)
	}
}

// TestLateWorkloadAPI: a machine that boots starts things in any order.
func TestLateWorkloadAPI(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	path := filepath.Join(t.TempDir(), "api.sock")
	p := start(t, []string{"SPIFFE_ENDPOINT_SOCKET=unix://" + path, "SPIKE_KEEPER_TLS_PORT=" + freeAddress(t)})
	p.says("level=WARN .*the Workload API does not answer.*" + regexp.QuoteMeta(path))
	time.Sleep(2500 * time.Millisecond) // long enough for more than one try
	serveProvider(t, path, domain, domain.SVID("/spike/keeper", time.Hour))
	p.says("keeper started")
	if n := strings.Count(p.stderr.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
}

func TestNoWorkloadAPI(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "api.sock")
	env := []string{
		"SPIFFE_ENDPOINT_SOCKET=" + socket, "SPIKE_KEEPER_TLS_PORT=" + freeAddress(t), "SPIKE_SPIFFE_SOURCE_TIMEOUT=1s",
	}
	for _, command := range []string{"run", "health"} {
		p := start(t, env, command)
		if code := p.ends(); code != 1 {
			t.Errorf("%s: exit code %d", command, code)
		}
		p.says("keeper: no identity from the Workload API at " + regexp.QuoteMeta(socket) + " within 1s .*SPIFFE_ENDPOINT_SOCKET")
	}
	waiting := start(t, env[:2])
	waiting.says("level=WARN")
	if err := waiting.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := waiting.ends(); code != 0 {
		t.Errorf("stopped while it waits: exit code %d", code)
	}
}

func TestIdentityOfSomethingElse(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	socket, _ := startProvider(t, domain, domain.SVID("/spike/nexus", time.Hour))
	p := start(t, []string{"SPIFFE_ENDPOINT_SOCKET=" + socket, "SPIKE_KEEPER_TLS_PORT=" + freeAddress(t)})
	if code := p.ends(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	p.says("identity spiffe://spike.ist/spike/nexus, which does not have the role keeper.*/spike/keeper.*SPIKE_TRUST_ROOT")
}

func TestTakenPort(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	_, address, env := running(t, domain)
	second := start(t, env)
	if code := second.ends(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	second.says(regexp.QuoteMeta(address) + " is taken by another program.*SPIKE_KEEPER_TLS_PORT")
}

func TestNoCoreFile(t *testing.T) {
	p, _, _ := running(t, identitytest.NewDomain(t, "spike.ist"))
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("a core file could be written:\n%s", limits)
	}
}

// TestRotation: new connections see the new certificate, open ones go on.
func TestRotation(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	socket, api := startProvider(t, domain, domain.SVID("/spike/keeper", time.Hour))
	address := freeAddress(t)
	p := start(t, []string{"SPIFFE_ENDPOINT_SOCKET=" + socket, "SPIKE_KEEPER_TLS_PORT=" + address})
	p.says("keeper started")
	open := nexus(t, domain, address)
	before, err := open.Held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := domain.SVID("/spike/keeper", time.Hour)
	api.use(next)
	source := domain.Source("/spike/nexus")
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := tls.Dial("tcp", address, mtls.ClientConfig(source, source, func(spiffeid.ID) bool { return true }))
		if err != nil {
			t.Fatal(err)
		}
		serial := c.ConnectionState().PeerCertificates[0].SerialNumber
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if serial.Cmp(next.Certificates[0].SerialNumber) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not used")
		}
		time.Sleep(20 * time.Millisecond)
	}
	after, err := open.Held(t.Context())
	if err != nil || after.Instance != before.Instance {
		t.Errorf("got %v, %v", after, err)
	}
}

// TestHealthOfAnImpostor: an answer counts only from a Keeper.
func TestHealthOfAnImpostor(t *testing.T) {
	domain := identitytest.NewDomain(t, "spike.ist")
	source := domain.Source("/spike/nexus")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := mtls.NewServer(mtls.ServerConfig{
		Handler: http.NotFoundHandler(), SVID: source, Bundles: source,
		Accept: func(spiffeid.ID) bool { return true }, Log: slog.New(slog.DiscardHandler),
	})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	defer func() {
		if err := errors.Join(server.Shutdown(t.Context()), <-done); err != nil {
			t.Error(err)
		}
	}()
	socket, _ := startProvider(t, domain, domain.SVID("/spike/keeper", time.Hour))
	p := start(t, []string{"SPIFFE_ENDPOINT_SOCKET=" + socket, "SPIKE_KEEPER_TLS_PORT=" + l.Addr().String()}, "health")
	if code := p.ends(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	p.says("no Keeper answers at .*spiffe://spike.ist/spike/nexus")
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		code int
		says []string
	}{
		{args: []string{"--version"}, says: []string{"keeper ", "go1."}},
		{args: []string{"--help"}, says: []string{"keeper health", "SPIFFE_ENDPOINT_SOCKET", "SPIKE_KEEPER_TLS_PORT"}},
		{args: []string{"serve"}, code: 2, says: []string{`"serve" is not a command`, "--help"}},
		{args: []string{"run", "--fast"}, code: 2, says: []string{`"--fast"`, "--help"}},
		{code: 1, says: []string{"SPIFFE_ENDPOINT_SOCKET: is not set"}},
		{
			env: map[string]string{
				"SPIKE_KEEPER_TLS_PORT": "high", "SPIKE_SYSTEM_LOG_LEVEL": "LOUD", "SPIKE_TRUST_ROOT_NEXUS": "a b",
				"SPIKE_SPIFFE_SOURCE_TIMEOUT": "soon",
			},
			code: 1,
			says: []string{"SPIKE_KEEPER_TLS_PORT", "LOUD", "SPIKE_TRUST_ROOT_NEXUS", "SPIKE_SPIFFE_SOURCE_TIMEOUT"},
		},
	} {
		var out bytes.Buffer
		code := 0
		err := run(t.Context(), c.args, func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }, &out, &out)
		if err != nil {
			fmt.Fprintln(&out, err)
			code = process.ExitCode(err)
		}
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.args, code, c.code)
		}
		for _, s := range c.says {
			if !strings.Contains(out.String(), s) {
				t.Errorf("%v: does not say %q:\n%s", c.args, s, &out)
			}
		}
	}
}
