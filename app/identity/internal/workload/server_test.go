package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/spiffe/spike/app/identity/internal/attest"
	"github.com/spiffe/spike/app/identity/internal/entry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	domain = spiffeid.RequireTrustDomainFromString("example.org")
	quiet  = slog.New(slog.DiscardHandler)
)

// set holds one entry for each path, all of them for this process.
func set(ttl time.Duration, paths ...string) *entry.Set {
	s := &entry.Set{TrustDomain: domain, TTL: ttl}
	for _, p := range paths {
		s.Entries = append(s.Entries, entry.Entry{
			ID: spiffeid.RequireFromPath(domain, p), Path: "/proc/self/exe", UID: uint32(os.Geteuid()),
		})
	}
	return s
}

// provider is a running server.
type provider struct {
	*Server
	socket string
	stop   func() error
}

func provide(t *testing.T, s *entry.Set, perUser int) *provider {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	socket, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(s, attest.NewQuota("streams", perUser, quiet), quiet)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := attest.NewCredentials(attest.NewQuota("connections", 100, quiet))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, socket, creds) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return errors.Join(<-done, socket.Release())
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return &provider{Server: server, socket: path, stop: stop}
}

// dial returns a bare client and a context with the header that is asked for.
func (p *provider) dial(t *testing.T) (context.Context, api.SpiffeWorkloadAPIClient) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+p.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true"), api.NewSpiffeWorkloadAPIClient(conn)
}

func TestHeaderIsRequired(t *testing.T) {
	_, client := provide(t, set(time.Hour, "/a"), 10).dial(t)
	for name, ctx := range map[string]context.Context{
		"none":  t.Context(),
		"false": metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "false"),
		"twice": metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true", "workload.spiffe.io", "true"),
	} {
		stream, err := client.FetchX509SVID(ctx, &api.X509SVIDRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: SVID: %v", name, err)
		}
		if _, err := client.FetchJWTSVID(ctx, &api.JWTSVIDRequest{}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: JWT: %v", name, err)
		}
	}
}

func TestJWTIsNotServed(t *testing.T) {
	ctx, client := provide(t, set(time.Hour, "/a"), 10).dial(t)
	_, fetchErr := client.FetchJWTSVID(ctx, &api.JWTSVIDRequest{Audience: []string{"x"}})
	_, validateErr := client.ValidateJWTSVID(ctx, &api.ValidateJWTSVIDRequest{Audience: "x", Svid: "x"})
	stream, bundlesErr := client.FetchJWTBundles(ctx, &api.JWTBundlesRequest{})
	if bundlesErr == nil {
		_, bundlesErr = stream.Recv()
	}
	for i, err := range []error{fetchErr, validateErr, bundlesErr} {
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestOrderOfSVIDs(t *testing.T) {
	s := set(time.Hour, "/superuser", "/b", "/superuser", "/a")
	s.Entries = append(s.Entries, entry.Entry{ID: spiffeid.RequireFromPath(domain, "/other"), UID: uint32(os.Geteuid()) + 1})
	p := provide(t, s, 10)
	svids, err := workloadapi.FetchX509SVIDs(t.Context(), workloadapi.WithAddr("unix://"+p.socket))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, svid := range svids {
		got = append(got, svid.ID.Path()+svid.Hint)
	}
	if strings.Join(got, " ") != "/superuser /b /a" {
		t.Errorf("got %v", got)
	}
}

// answers reads a stream into a channel until it ends.
func answers(t *testing.T, ctx context.Context, client api.SpiffeWorkloadAPIClient) (<-chan *api.X509SVIDResponse, <-chan error) {
	t.Helper()
	stream, err := client.FetchX509SVID(ctx, &api.X509SVIDRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, ended := make(chan *api.X509SVIDResponse, 100), make(chan error, 1)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			got <- r
		}
	}()
	return got, ended
}

// receive fails the test when nothing comes.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func names(r *api.X509SVIDResponse) string {
	var s []string
	for _, svid := range r.Svids {
		s = append(s, strings.TrimPrefix(svid.SpiffeId, "spiffe://example.org"))
	}
	return strings.Join(s, " ")
}

func TestUpdatesReachOpenStreams(t *testing.T) {
	p := provide(t, set(time.Hour, "/a"), 10)
	ctx, client := p.dial(t)
	got, ended := answers(t, ctx, client)
	first := receive(t, got)
	if names(first) != "/a" {
		t.Errorf("got %s", names(first))
	}
	update := func(s *entry.Set) {
		t.Helper()
		if err := p.Update(s); err != nil {
			t.Fatal(err)
		}
	}

	// Nothing that concerns the caller: nothing is sent.
	s := set(time.Hour, "/a")
	s.Entries = append(s.Entries, entry.Entry{ID: spiffeid.RequireFromPath(domain, "/other"), UID: uint32(os.Geteuid()) + 1})
	update(s)

	update(set(time.Hour, "/b", "/a"))
	second := receive(t, got)
	if names(second) != "/b /a" {
		t.Fatalf("got %s", names(second))
	}
	if string(second.Svids[1].X509Svid) != string(first.Svids[0].X509Svid) {
		t.Error("an SVID that was good was made anew")
	}

	update(set(time.Minute, "/b", "/a"))
	if third := receive(t, got); string(third.Svids[0].X509Svid) == string(second.Svids[0].X509Svid) {
		t.Error("a new ttl left the SVIDs as they were")
	}

	other := set(time.Hour, "/a")
	other.TrustDomain = spiffeid.RequireTrustDomainFromString("other.org")
	other.Entries[0].ID = spiffeid.RequireFromPath(other.TrustDomain, "/a")
	update(other)
	if fourth := receive(t, got); fourth.Svids[0].SpiffeId != "spiffe://other.org/a" || string(fourth.Svids[0].Bundle) == string(first.Svids[0].Bundle) {
		t.Errorf("after the trust domain changed: %s", names(fourth))
	}

	update(set(time.Hour))
	if err := receive(t, ended); status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "no identity issued" {
		t.Errorf("after its entries are gone: %v", err)
	}
	if len(got) != 0 {
		t.Errorf("one answer too many: %s", names(<-got))
	}
}

func TestBundles(t *testing.T) {
	p := provide(t, set(time.Hour, "/a"), 10)
	ctx, client := p.dial(t)
	got, _ := answers(t, ctx, client)
	bundle := receive(t, got).Svids[0].Bundle

	stream, err := client.FetchX509Bundles(ctx, &api.X509BundlesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Bundles) != 1 || string(r.Bundles["spiffe://example.org"]) != string(bundle) {
		t.Errorf("got bundles for %d trust domains", len(r.Bundles))
	}
	if err := p.Update(set(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("without an identity: %v", err)
	}
}

func TestRotationAtHalfLife(t *testing.T) {
	p := provide(t, set(2*time.Second, "/a", "/b"), 10)
	ctx, client := p.dial(t)
	got, _ := answers(t, ctx, client)
	last := receive(t, got)
	for range 3 {
		next := receive(t, got)
		if names(next) != "/a /b" || string(next.Svids[0].X509Svid) == string(last.Svids[0].X509Svid) {
			t.Errorf("rotated to %s", names(next))
		}
		if string(next.Svids[0].Bundle) != string(last.Svids[0].Bundle) {
			t.Error("the CA changed")
		}
		last = next
	}
}

func TestStreamQuota(t *testing.T) {
	p := provide(t, set(time.Hour, "/a"), 2)
	ctx, client := p.dial(t)
	first, cancel := context.WithCancel(ctx)
	gotFirst, endedFirst := answers(t, first, client)
	receive(t, gotFirst)
	got, _ := answers(t, ctx, client)
	receive(t, got)
	_, ended := answers(t, ctx, client)
	if err := receive(t, ended); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third stream: %v", err)
	}
	cancel()
	receive(t, endedFirst)
	// The server learns of the end a moment later.
	for {
		got, ended := answers(t, ctx, client)
		select {
		case <-got:
			return
		case err := <-ended:
			if status.Code(err) != codes.ResourceExhausted {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// Stock clients give up for good on Canceled; a stop must look like a failure
// that passes.
func TestStopEndsStreams(t *testing.T) {
	p := provide(t, set(time.Hour, "/a"), 10)
	ctx, client := p.dial(t)
	got, ended := answers(t, ctx, client)
	receive(t, got)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if err := receive(t, ended); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(p.socket))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestServeFailsWithItsListener(t *testing.T) {
	server, err := New(set(time.Hour, "/a"), attest.NewQuota("streams", 1, quiet), quiet)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := server.Serve(t.Context(), l, insecure.NewCredentials()); err == nil {
		t.Error("no error")
	}
}

func TestAsk(t *testing.T) {
	p := provide(t, set(time.Hour, "/a"), 10)
	if err := Ask(t.Context(), p.socket); err != nil {
		t.Errorf("with an identity: %v", err)
	}
	if err := p.Update(set(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := Ask(t.Context(), p.socket); err != nil {
		t.Errorf("without an identity: %v", err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := Ask(t.Context(), p.socket); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("after the end: %v", err)
	}

	// Someone who accepts and says nothing.
	silent := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := Ask(ctx, silent); err == nil {
		t.Error("silence counts as an answer")
	}
}

func TestUnmatchedIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	u := newUnmatched(slog.New(slog.NewTextHandler(&log, nil)))
	caller := attest.Caller{UID: 1000, GID: 100, PID: 7, ExeName: "/opt/spike/bin/nexus"}
	for range 3 {
		caller.PID++
		u.report(caller)
	}
	want := `uid=1000 gid=100 pid=8 exe=/opt/spike/bin/nexus entry="{id: /NAME, path: /opt/spike/bin/nexus, uid: 1000}"`
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
		t.Errorf("logged\n%s\nwant once\n%s", got, want)
	}
	log.Reset()
	u.forget()
	caller.ExeName, caller.ExeErr = "", errors.New("permission denied")
	u.report(caller)
	if got := log.String(); !strings.Contains(got, `exe_error="permission denied" entry="{id: /NAME, uid: 1000}"`) {
		t.Errorf("logged %s", got)
	}
}

// The number of a user who has none here stands for all such users: an entry with
// it must not be offered.
func TestUnknownUserIsOfferedNoEntry(t *testing.T) {
	var log strings.Builder
	u := newUnmatched(slog.New(slog.NewTextHandler(&log, nil)))
	u.report(attest.Caller{UID: 65534, GID: 100, PID: 7, ExeName: "/opt/app", UIDUnknown: true})
	got := log.String()
	for _, want := range []string{"level=WARN", "no number in this user namespace", "uid=65534", "exe=/opt/app"} {
		if !strings.Contains(got, want) {
			t.Errorf("this lacks %q: %s", want, got)
		}
	}
	if strings.Contains(got, " entry=") {
		t.Errorf("an entry is offered: %s", got)
	}
	// Where every user has a number, this one is a user like others.
	log.Reset()
	u.forget()
	u.report(attest.Caller{UID: 65534, GID: 100, PID: 7, ExeName: "/opt/app"})
	if got := log.String(); !strings.Contains(got, `entry="{id: /NAME, path: /opt/app, uid: 65534}"`) {
		t.Errorf("logged %s", got)
	}
}

func TestUnmatchedIsBounded(t *testing.T) {
	u := newUnmatched(quiet)
	now := time.Now()
	for i := range maxMentioned {
		if first, full := u.note(stranger{exe: fmt.Sprint(i)}, now); !first || full {
			t.Fatalf("%d: %v, %v", i, first, full)
		}
	}
	if first, full := u.note(stranger{exe: "x"}, now); first || !full {
		t.Errorf("the first that has no room: %v, %v", first, full)
	}
	if first, full := u.note(stranger{exe: "y"}, now); first || full {
		t.Errorf("the second: %v, %v", first, full)
	}
	now = now.Add(repeatAfter)
	if first, full := u.note(stranger{exe: "x"}, now); !first || full {
		t.Errorf("later: %v, %v", first, full)
	}
	if len(u.seen) != 1 {
		t.Errorf("%d are kept", len(u.seen))
	}
}

func TestSuggestionIsValid(t *testing.T) {
	for name, want := range map[string]string{
		"/bin/a_b-c.d":   "{id: /NAME, path: /bin/a_b-c.d, uid: 5}",
		"/a b":           `{id: /NAME, path: "/a b", uid: 5}`,
		"/a, uid: 0}\n":  `{id: /NAME, path: "/a, uid: 0}\n", uid: 5}`,
		"/old (deleted)": "{id: /NAME, path: /old, uid: 5} (the file was replaced or removed while the process runs: start the process again)",
	} {
		if got := suggestion(attest.Caller{UID: 5, ExeName: name}); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}
