package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc/status"
)

// childMode makes a copy of the test binary the provider, or a client.
const childMode = "IDENTITY_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "identity":
		main()
	case "client":
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		svids, err := workloadapi.FetchX509SVIDs(ctx)
		if err != nil {
			fmt.Println(status.Code(err), status.Convert(err).Message())
			return
		}
		for _, svid := range svids {
			fmt.Print(svid.ID.Path(), " ")
		}
		fmt.Println()
	default:
		goleak.VerifyTestMain(m)
	}
}

// place is a folder with the programs, an entries file and a socket, that every
// user may enter.
type place struct {
	dir, identity, client, entries, socket string
}

func newPlace(t *testing.T, entries string) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "identity")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &place{
		dir:      dir,
		identity: filepath.Join(dir, "identity"),
		client:   filepath.Join(dir, "client"),
		entries:  filepath.Join(dir, "entries.yaml"),
		socket:   filepath.Join(dir, "run", "api.sock"),
	}
	if err := os.Mkdir(filepath.Dir(p.socket), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{p.identity, p.client} {
		copySelf(t, program)
	}
	p.write(t, entries)
	return p
}

func copySelf(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

func (p *place) write(t *testing.T, entries string) {
	t.Helper()
	if err := os.WriteFile(p.entries, []byte("trust_domain: example.org\n"+entries), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (p *place) command(mode, exe string, as *syscall.Credential, args ...string) *exec.Cmd {
	cmd := exec.Command(exe, args...)
	cmd.Env = []string{childMode + "=" + mode, "SPIFFE_ENDPOINT_SOCKET=unix://" + p.socket, "SPIKE_SYSTEM_LOG_LEVEL=INFO"}
	if as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
	return cmd
}

// ask returns what the client program is told.
func (p *place) ask(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	out, err := p.command("client", p.client, as).CombinedOutput()
	if err != nil {
		t.Fatalf("client: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// becomes waits until the client is told so.
func (p *place) becomes(t *testing.T, as *syscall.Credential, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := p.ask(t, as)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the client is told %q, wanted %q", got, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// identity is a running provider.
type identity struct {
	cmd   *exec.Cmd
	lines chan string
}

func (p *place) run(t *testing.T, as *syscall.Credential) *identity {
	t.Helper()
	i := &identity{cmd: p.command("identity", p.identity, as, "run", "--entries", p.entries), lines: make(chan string, 10000)}
	stderr, err := i.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			i.lines <- lines.Text()
		}
	})
	t.Cleanup(func() {
		if i.cmd.ProcessState == nil {
			i.end(t, syscall.SIGTERM)
		}
		reader.Wait()
		if t.Failed() {
			for len(i.lines) > 0 {
				t.Log(<-i.lines)
			}
		}
	})
	i.logged(t, "identity provider listening")
	return i
}

// logged waits for a log line with the text, and returns it.
func (i *identity) logged(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case line := <-i.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			t.Fatalf("no log line with %q", text)
		}
	}
}

// end sends the signal, and returns how the provider ended.
func (i *identity) end(t *testing.T, signal os.Signal) *os.ProcessState {
	t.Helper()
	if err := i.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := i.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return i.cmd.ProcessState
}

// From the log line about a caller without an identity, an entry can be written;
// the running provider takes it up.
func TestEntryFromTheLog(t *testing.T) {
	p := newPlace(t, "entries: []\n")
	i := p.run(t, nil)
	if got := p.ask(t, nil); got != "PermissionDenied no identity issued" {
		t.Fatalf("told %q", got)
	}
	line := i.logged(t, "level=WARN")
	for _, want := range []string{fmt.Sprintf("uid=%d", os.Geteuid()), fmt.Sprintf("gid=%d", os.Getegid()), "pid=", "exe=" + p.client} {
		if !strings.Contains(line, want) {
			t.Errorf("%s\nlacks %s", line, want)
		}
	}
	_, quoted, _ := strings.Cut(line, " entry=")
	entry, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatal(err)
	}
	entry = strings.Replace(entry, "/NAME", "/made/from/log", 1)
	p.write(t, "entries:\n  - "+entry+"\n")
	p.becomes(t, nil, "/made/from/log")

	// A bad edit takes nothing away.
	p.write(t, "entries:\n  - "+entry+"\n    oops: 1\n")
	i.logged(t, "the last good ones stay in force")
	if got := p.ask(t, nil); got != "/made/from/log" {
		t.Errorf("after a bad edit told %q", got)
	}
	p.write(t, "entries: []\n")
	p.becomes(t, nil, "PermissionDenied no identity issued")
}

func TestReplacedProgram(t *testing.T) {
	p := newPlace(t, "entries:\n  - {id: /a, path: client}\n  - {id: /b, path: kept}\n")
	p.run(t, nil)
	if got := p.ask(t, nil); got != "/a" {
		t.Fatalf("told %q", got)
	}
	if err := os.Link(p.client, filepath.Join(p.dir, "kept")); err != nil {
		t.Fatal(err)
	}
	if got := p.ask(t, nil); got != "/a /b" {
		t.Errorf("with two names, told %q", got)
	}
	// The new file has the one name, the old file the other.
	copySelf(t, p.client)
	if got := p.ask(t, nil); got != "/a" {
		t.Errorf("after a new build, told %q", got)
	}
}

func TestUsers(t *testing.T) {
	me := os.Geteuid()
	p := newPlace(t, fmt.Sprintf(`entries:
  - {id: /mine, path: client}
  - {id: /theirs, path: client, uid: 54321}
  - {id: /group, path: client, uid: 54321, gid: 54322}
  - {id: /any-of-theirs, uid: 54321}
  - {id: /next, path: client, uid: %d}
`, me+1))
	p.run(t, nil)
	if got := p.ask(t, nil); got != "/mine" {
		t.Errorf("own user is told %q", got)
	}
	if me != 0 {
		return // Only root can be someone else.
	}
	if got := p.ask(t, &syscall.Credential{Uid: 54321, Gid: 54322}); got != "/theirs /group /any-of-theirs" {
		t.Errorf("the other user is told %q", got)
	}
	if got := p.ask(t, &syscall.Credential{Uid: 54321, Gid: 54321}); got != "/theirs /any-of-theirs" {
		t.Errorf("the other user in another group is told %q", got)
	}
	if got := p.ask(t, &syscall.Credential{Uid: 54323, Gid: 54322}); got != "PermissionDenied no identity issued" {
		t.Errorf("a third user is told %q", got)
	}
}

// A provider that is not root cannot see what other users run, and so gives them
// nothing for it.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // Then all other tests are this one.
	}
	p := newPlace(t, "entries:\n  - {id: /mine, path: client}\n  - {id: /root-by-path, path: client, uid: 0}\n")
	const uid, gid = 54321, 54322
	if err := os.Chown(filepath.Dir(p.socket), uid, gid); err != nil {
		t.Fatal(err)
	}
	i := p.run(t, &syscall.Credential{Uid: uid, Gid: gid})
	if got := p.ask(t, &syscall.Credential{Uid: uid, Gid: gid}); got != "/mine" {
		t.Errorf("its own user is told %q", got)
	}
	if got := p.ask(t, nil); got != "PermissionDenied no identity issued" {
		t.Errorf("root is told %q", got)
	}
	if line := i.logged(t, "level=WARN"); !strings.Contains(line, "exe_error=") || !strings.Contains(line, `entry="{id: /NAME, uid: 0}"`) {
		t.Errorf("logged %s", line)
	}
	p.write(t, "entries:\n  - {id: /root-by-uid, uid: 0}\n")
	p.becomes(t, nil, "/root-by-uid")
}

func TestUserThatStandsForMany(t *testing.T) {
	stand := uint32(65534)
	for _, tc := range []struct {
		euid    uint32
		unknown *uint32
		refused bool
	}{
		{1000, nil, false},
		{65534, nil, false},
		{1000, &stand, false},
		{65534, &stand, true},
	} {
		got, err := owner(tc.euid, tc.unknown)
		if (err != nil) != tc.refused || err == nil && got != tc.euid {
			t.Errorf("uid %d: %d, %v", tc.euid, got, err)
		}
	}
}

// source is the stock client, in this process, which the entries must name.
func (p *place) source(t *testing.T) *workloadapi.X509Source {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+p.socket)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func current(t *testing.T, s *workloadapi.X509Source) *x509svid.SVID {
	t.Helper()
	svid, err := s.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(svid.Certificates, s); err != nil {
		t.Fatalf("the SVID does not fit the bundle: %v", err)
	}
	return svid
}

func updated(t *testing.T, s *workloadapi.X509Source) {
	t.Helper()
	select {
	case <-s.Updated():
	case <-time.After(60 * time.Second):
		t.Fatal("no update came")
	}
}

// greet makes a mutual TLS connection between the two sources.
func greet(server, client *workloadapi.X509Source) error {
	td := tlsconfig.AuthorizeMemberOf(spiffeid.RequireTrustDomainFromString("example.org"))
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	served := make(chan error, 1)
	go func() {
		served <- tls.Server(a, tlsconfig.MTLSServerConfig(server, server, td)).Handshake()
		a.Close()
	}()
	conn := tls.Client(b, tlsconfig.MTLSClientConfig(client, client, td))
	err := conn.Handshake()
	if err != nil {
		b.Close()
	}
	return errors.Join(err, <-served)
}

// Two stock clients go on talking while their SVIDs come and go.
func TestRotation(t *testing.T) {
	p := newPlace(t, "ttl: 3s\nentries:\n  - {id: /a, path: "+self(t)+"}\n")
	p.run(t, nil)
	one, two := p.source(t), p.source(t)
	last := current(t, one)
	if last.ID.Path() != "/a" {
		t.Errorf("got %s", last.ID)
	}
	for range 3 {
		updated(t, one)
		next := current(t, one)
		if next.Certificates[0].SerialNumber.Cmp(last.Certificates[0].SerialNumber) == 0 {
			t.Error("the same certificate again")
		}
		if left := time.Until(last.Certificates[0].NotAfter); left <= 0 {
			t.Errorf("the last one ended %s before it was replaced", -left)
		}
		if err := greet(one, two); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
		last = next
	}
}

// A provider that was killed and started again has another CA. Stock clients
// take up new SVIDs and the new bundle without being touched.
func TestRestart(t *testing.T) {
	p := newPlace(t, "entries:\n  - {id: /a, path: "+self(t)+"}\n")
	i := p.run(t, nil)
	one, two := p.source(t), p.source(t)
	before := current(t, one)

	if state := i.end(t, syscall.SIGKILL); state.Success() {
		t.Fatal("not killed")
	}
	if _, err := os.Lstat(p.socket); err != nil {
		t.Fatalf("a killed provider leaves its socket behind: %v", err)
	}
	if err := greet(one, two); err != nil {
		t.Errorf("without a provider: %v", err)
	}
	p.run(t, nil)
	updated(t, one)
	updated(t, two)
	after := current(t, one)
	if bytes.Equal(before.Certificates[0].AuthorityKeyId, after.Certificates[0].AuthorityKeyId) {
		t.Error("the same CA as before")
	}
	if _, _, err := x509svid.Verify(before.Certificates, one); err == nil {
		t.Error("the new bundle vouches for an old SVID")
	}
	if err := greet(one, two); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestEnd(t *testing.T) {
	p := newPlace(t, "entries:\n  - {id: /a, path: "+self(t)+"}\n")
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		i := p.run(t, nil)
		source := p.source(t)
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", i.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
			t.Errorf("limits are\n%s", limits)
		}
		if state := i.end(t, signal); !state.Success() {
			t.Errorf("%v: %s", signal, state)
		}
		left, err := os.ReadDir(filepath.Dir(p.socket))
		if err != nil || len(left) != 0 {
			t.Errorf("%v: left behind %v, %v", signal, left, err)
		}
		// What a client holds stays good until it ends.
		current(t, source)
	}
}

func TestSecondProviderIsRefused(t *testing.T) {
	p := newPlace(t, "entries:\n  - {id: /a, path: client}\n")
	p.run(t, nil)
	out, err := p.command("identity", p.identity, nil, "run", "--entries", p.entries).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(string(out), "another identity provider is listening on "+p.socket) {
		t.Errorf("said %s", out)
	}
	if got := p.ask(t, nil); got != "/a" {
		t.Errorf("the first now tells %q", got)
	}
}

func TestHealth(t *testing.T) {
	p := newPlace(t, "entries: []\n")
	health := func() (string, int) {
		cmd := p.command("identity", p.identity, nil, "health")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := health(); code != exitFailed || !strings.Contains(out, "does not exist") {
		t.Errorf("before the start: %d, %s", code, out)
	}
	i := p.run(t, nil)
	if out, code := health(); code != 0 || out != "" {
		t.Errorf("while it runs: %d, %s", code, out)
	}
	i.end(t, syscall.SIGKILL)
	if out, code := health(); code != exitFailed || !strings.Contains(out, "nobody listens") {
		t.Errorf("after it was killed: %d, %s", code, out)
	}
	for len(i.lines) > 0 {
		if line := <-i.lines; strings.Contains(line, "level=WARN") {
			t.Errorf("a health check is logged: %s", line)
		}
	}
}

func TestCheck(t *testing.T) {
	p := newPlace(t, "entries:\n  - {id: /a, path: client}\n  - {id: /b, path: none}\n")
	var out, notes strings.Builder
	unset := func(string) (string, bool) { return "", false }
	if err := run(t.Context(), []string{"check", "--entries", p.entries}, unset, &out, &notes); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "2 entries in trust domain example.org, SVIDs live 1h0m0s\n" {
		t.Errorf("said %q", got)
	}
	if got := notes.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "entries.yaml:4: nobody gets spiffe://example.org/b for now") {
		t.Errorf("noted %q", got)
	}
	p.write(t, "entries:\n  - {id: a, path: client}\n")
	err := run(t.Context(), []string{"check", "--entries", p.entries}, unset, io.Discard, io.Discard)
	if err == nil || errors.Is(err, errUsage) || !strings.Contains(err.Error(), p.entries+":3: id") {
		t.Errorf("error is %v", err)
	}
}
