package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/shard"
	"github.com/spiffe/spike/internal/workload"
)

// What this program does as the superuser of a cluster in containers, which is in a
// container of that network, is "drill inside": fill it, wait until it is as it should
// be, and print the digest of all secrets.

// patience is how long a cluster in containers may take for anything, on a machine
// that has other things to do.
const patience = 90 * time.Second

func inside(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("drill inside", flag.ContinueOnError)
	flags.SetOutput(stderr)
	socket := flags.String("socket", "unix:///workload-api/identity.sock", "the Workload API")
	address := flags.String("nexus", "https://nexus:8553", "Nexus")
	secrets := flags.Int("secrets", 0, "how many secrets to write first")
	state := flags.String("state", api.StateOpen, "the state of Nexus to wait for")
	held := flags.Bool("held", false, "print what the Keepers hold, as Nexus, and nothing else")
	full := flags.Bool("full", false, "wait until every Keeper holds its share, too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	u, err := url.Parse(*address)
	if err != nil {
		return err
	}
	td, err := spiffeid.TrustDomainFromString(clustertest.TrustDomain)
	if err != nil {
		return err
	}
	domains := []spiffeid.TrustDomain{td}
	roles := role.Domains{Trusted: domains, Nexus: domains, Keeper: domains, Pilot: domains}
	own := role.Superuser
	if *held {
		own = role.Nexus
	}
	source, err := workload.Open(ctx, workload.Config{
		Socket: *socket, Timeout: patience, Role: own, Domains: roles, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if *held {
		return printHeld(ctx, source, &roles, stdout)
	}
	c := client.New(client.Config{
		URL: u, SVID: source, Bundles: source,
		Expect: func(id spiffeid.ID) bool { return roles.Of(id) == role.Nexus },
	})
	defer c.Close()
	if err := waitFor(ctx, c, *state, *full); err != nil || *state != api.StateOpen {
		return err
	}
	if err := fill(ctx, c, *secrets); err != nil {
		return err
	}
	d, err := take(ctx, c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d %x\n", d.secrets, d.sum)
	return err
}

// printHeld prints the share of each Keeper, which must hold one, for whoever looks
// for it in all that the cluster leaves.
func printHeld(ctx context.Context, source *workloadapi.X509Source, roles *role.Domains, stdout io.Writer) error {
	http := keeper.NewHTTPClient(source, source, func(id spiffeid.ID) bool { return roles.Of(id) == role.Keeper })
	defer http.CloseIdleConnections()
	all := heldShares{Shares: map[int]shard.Value{}}
	for _, name := range []string{"keeper-1", "keeper-2", "keeper-3"} {
		u := &url.URL{Scheme: "https", Host: name + ":8443"}
		h, err := keeper.NewClient(keeper.ClientConfig{URL: u, HTTP: http}).Held(ctx)
		if err != nil {
			return err
		}
		if h.Active == nil {
			return fmt.Errorf("%s holds no share", name)
		}
		tag := h.Active.Tag
		all.Cluster, all.KeyID, all.Threshold = tag.Cluster, tag.KeyID, tag.Threshold
		all.Shares[tag.Index] = h.Active.Value
		h.Wipe()
	}
	return json.NewEncoder(stdout).Encode(all)
}

// waitFor asks again and again, also while nobody answers: Nexus may just be starting.
func waitFor(ctx context.Context, c *client.Client, state string, full bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		status, err := c.OperatorStatus(ctx)
		if err == nil && status.State == state && (!full || allHold(&status)) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is %s: %s (%+v)", status.State, status.Reason, status.Keepers)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for Nexus to be %s: %w", state, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func allHold(status *clustertest.Status) bool {
	for _, k := range status.Keepers {
		if k.Holds != api.HoldsShare {
			return false
		}
	}
	return true
}
