package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
)

// TestRotation has everyone's SVIDs live for 10 seconds, with new ones every 5:
// those of Nexus, of the Keepers and of the clients. Some clients are always busy,
// some call now and then over what they kept, some connect for each call, and
// somebody asks a Keeper as Nexus does. Not one request fails.
func TestRotation(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Programs: programs, TTL: 10 * time.Second})
	must(t, (&world{}).initialize(t.Context(), c))
	source, err := c.Source(t.Context(), role.Superuser)
	must(t, err)
	r := &rotated{t: t, cluster: c, source: source}
	ctx, cancel := context.WithTimeout(t.Context(), *rotation)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		pause := 10 * time.Millisecond
		if i%2 == 1 {
			pause = time.Duration(i) * time.Second
		}
		wg.Go(func() { r.keeps(ctx, i, pause) })
	}
	for range 2 {
		wg.Go(func() { r.connects(ctx) })
	}
	wg.Go(func() { r.knowsNothing(ctx) })
	wg.Go(func() { r.asksKeeper(ctx) })
	svids := map[string]bool{}
	for ctx.Err() == nil {
		svid, err := source.GetX509SVID()
		must(t, err)
		svids[svid.Certificates[0].SerialNumber.String()] = true
		must(t, wait(t.Context(), 200*time.Millisecond))
	}
	wg.Wait()
	t.Logf("%d requests under %d SVIDs", r.done.Load(), len(svids))
	if r.done.Load() < int64(rotation.Seconds()*20) || len(svids) < int(*rotation/(10*time.Second)) {
		t.Error("too little happened to show anything")
	}
	for _, trouble := range []string{"cannot be used", "level=ERROR", "refused a request"} {
		if at := strings.Index(c.Nexus().Log(), trouble); at >= 0 {
			t.Errorf("Nexus logged %q: %.300s", trouble, c.Nexus().Log()[max(0, at-100):])
		}
	}
}

type rotated struct {
	t       *testing.T
	cluster *clustertest.Cluster
	source  *workloadapi.X509Source
	done    atomic.Int64
}

func isRole(r role.Role) func(spiffeid.ID) bool {
	return func(id spiffeid.ID) bool { return strings.HasPrefix(id.Path(), r.Path()) }
}

// each calls until ctx ends, with a pause in between, and tells what failed.
func (r *rotated) each(ctx context.Context, who string, pause time.Duration, call func(context.Context) error) {
	for ctx.Err() == nil {
		// What is under way at the end is waited for.
		if err := call(context.WithoutCancel(ctx)); err != nil {
			r.t.Errorf("%s: %s, %v", who, time.Now().Format(time.StampMilli), err)
		}
		r.done.Add(1)
		if wait(ctx, rand.N(2*pause)) != nil {
			return
		}
	}
}

// keeps calls over connections that are kept, as Pilot and SPIKE's own programs do.
func (r *rotated) keeps(ctx context.Context, i int, pause time.Duration) {
	n := client.New(client.Config{URL: r.cluster.URL(), SVID: r.source, Bundles: r.source, Expect: isRole(role.Nexus)})
	defer n.Close()
	path, written := fmt.Sprint("rotation/", i), 0
	r.each(ctx, fmt.Sprintf("client %d that keeps connections", i), pause, func(ctx context.Context) error {
		if written%10 == 0 {
			if _, err := n.SecretPut(ctx, api.SecretPutRequest{Path: path, Values: api.Values{"n": fmt.Sprint(written)}}); err != nil {
				return err
			}
		}
		written++
		_, err := n.SecretGet(ctx, path, 0)
		return err
	})
}

// connects calls as the SDK does: a transport for each call, left to itself.
func (r *rotated) connects(ctx context.Context) {
	r.each(ctx, "client that connects for each call", 50*time.Millisecond, func(ctx context.Context) error {
		return r.list(ctx, r.plain())
	})
}

// knowsNothing keeps its connections and never looks whose they are: that is left
// to the server, which ends them with an answer.
func (r *rotated) knowsNothing(ctx context.Context) {
	to := r.plain()
	defer to.CloseIdleConnections()
	r.each(ctx, "client that knows nothing of rotation", 20*time.Millisecond, func(ctx context.Context) error {
		return r.list(ctx, to)
	})
}

// plain is go-spiffe's way, with nothing of ours.
func (r *rotated) plain() *http.Transport {
	return &http.Transport{
		TLSClientConfig: tlsconfig.MTLSClientConfig(r.source, r.source, tlsconfig.AdaptMatcher(func(id spiffeid.ID) error {
			if !isRole(role.Nexus)(id) {
				return errors.New("not Nexus")
			}
			return nil
		})),
		IdleConnTimeout: 3 * time.Second,
	}
}

func (r *rotated) list(ctx context.Context, to *http.Transport) error {
	a, err := send(ctx, to, r.cluster.URL(), http.MethodPost, "/v1/store/secrets?action=list", "application/json", `{}`)
	if err != nil {
		return err
	}
	var list api.SecretListResponse
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != http.StatusOK {
		return fmt.Errorf("status %d: %w", a.status, err)
	}
	return nil
}

func (r *rotated) asksKeeper(ctx context.Context) {
	source, err := r.cluster.Source(ctx, role.Nexus)
	if err != nil {
		r.t.Error(err)
		return
	}
	via := keeper.NewHTTPClient(source, source, isRole(role.Keeper))
	defer via.CloseIdleConnections()
	k := keeper.NewClient(keeper.ClientConfig{URL: r.cluster.KeeperURL(1), HTTP: via})
	r.each(ctx, "Keeper 1", 300*time.Millisecond, func(ctx context.Context) error {
		held, err := k.Held(ctx)
		held.Wipe()
		return err
	})
}
