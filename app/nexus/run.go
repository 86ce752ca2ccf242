package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/spiffe/spike/app/nexus/internal/audit"
	"github.com/spiffe/spike/app/nexus/internal/rootkey"
	"github.com/spiffe/spike/app/nexus/internal/server"
	"github.com/spiffe/spike/app/nexus/internal/store/memory"
	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/buildinfo"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/process"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/workload"
)

const usage = `nexus serves secrets to workloads over SPIFFE mutual TLS.

Usage:
  nexus [run]       serve until SIGTERM
  nexus health      ask the Nexus that runs here whether it is alive (exit 0 or 1)
  nexus --version
  nexus --help

Audit lines go to standard output, everything else to standard error.

It exits with 0 after SIGTERM, 2 for a command line that it does not understand, 3
when its store failed while it served (start it again), 4 when the store is damaged
(see docs/runbook), and else 1.

Settings, from the environment:
  SPIFFE_ENDPOINT_SOCKET                 the Workload API, such as unix:///run/spire/agent/api.sock
  SPIKE_NEXUS_TLS_PORT                   where to listen (:8553)
  SPIKE_NEXUS_BACKEND_STORE              sqlite, memory for development, or lite for
                                         the cipher service alone (sqlite)
  SPIKE_NEXUS_DATA_DIR                   where the database is (~/.spike/data)
  SPIKE_NEXUS_KEEPER_PEERS               the Keepers' URLs, comma-separated
  SPIKE_NEXUS_SHAMIR_SHARES              how many Keepers, and recovery shards, there are (3)
  SPIKE_NEXUS_SHAMIR_THRESHOLD           how many of them make the root key (2)
  SPIKE_NEXUS_KEEPER_UPDATE_INTERVAL     how often a Keeper that is well is looked at (5m)
  SPIKE_NEXUS_RECOVERY_MAX_INTERVAL      the longest pause between two searches for the root key (60s)
  SPIKE_NEXUS_MAX_SECRET_VERSIONS        how many versions of a secret are kept (10)
  SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE the longest ciphertext of the cipher service, in bytes (65536)
  SPIKE_TRUST_ROOT                       the trust domains, comma-separated (spike.ist)
  SPIKE_TRUST_ROOT_{NEXUS,KEEPER,PILOT,LITE_WORKLOAD}
                                         where that role counts (the first of SPIKE_TRUST_ROOT)
  SPIKE_SPIFFE_SOURCE_TIMEOUT            how long a start waits for an identity (30s)
  SPIKE_HTTP_SERVER_READ_HEADER_TIMEOUT  how long a caller may take to begin (10s)
  SPIKE_SYSTEM_LOG_LEVEL                 DEBUG, INFO, WARN or ERROR (WARN)
`

func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) error {
	command, err := process.Command("nexus", usage, args, stdout)
	if command == "" {
		return err
	}
	s, err := readSettings(lookup, command == process.Run)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
	if command == process.Health {
		return health(ctx, s, log, stdout)
	}
	return serve(ctx, s, log, stdout)
}

// serve runs Nexus until ctx ends or its store fails.
func serve(ctx context.Context, s settings, log *slog.Logger, auditTo io.Writer) (err error) {
	if err := process.ForbidCore(); err != nil {
		return err
	}
	defer paceCollector()()
	// A machine that does not let Nexus lock memory must say so now, and not when
	// the root key is there.
	probe, err := secret.RandomKey(1)
	if err != nil {
		return err
	}
	probe.Destroy()
	// The port and the folder come before the identity: what is wrong with them is
	// told at once.
	listener, err := process.Listen(s.address, "SPIKE_NEXUS_TLS_PORT")
	if err != nil {
		return err
	}
	// The server closes it too; closing it twice is no mistake here.
	defer func() { _ = listener.Close() }()
	store, err := openStore(ctx, s, log)
	if err != nil {
		return err
	}
	v, err := vault.New(ctx, vault.Config{
		Store: store, Audit: audit.New(auditTo).Write, Log: log, MaxVersions: s.maxVersions,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", s.dataDir, err), store.Close())
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := checkPeers(v.Header(), s, log); err != nil {
		return err
	}
	source, err := identity(ctx, s, log)
	if err != nil || source == nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	return serveVault(ctx, s, log, listener, v, source)
}

func openStore(ctx context.Context, s settings, log *slog.Logger) (vault.Store, error) {
	if s.backend == backendMemory {
		return memory.New(), nil
	}
	return sqlite.Open(ctx, sqlite.Config{Folder: s.dataDir, Log: log})
}

// identity returns nil without an error when ctx ended before there was one.
func identity(ctx context.Context, s settings, log *slog.Logger) (*workloadapi.X509Source, error) {
	source, err := workload.Open(ctx, workload.Config{
		Socket: s.socket, Timeout: s.sourceTimeout, Role: role.Nexus, Domains: s.roles, Log: log,
	})
	if err != nil && ctx.Err() != nil {
		return nil, nil //nolint:nilerr // being asked to stop is no failure
	}
	return source, err
}

// serveVault answers requests until ctx ends or the vault fails, and then shuts
// down in order: no new writes, queued ones committed, requests under way
// answered, the background stopped. The caller closes the vault.
func serveVault(ctx context.Context, s settings, log *slog.Logger, listener net.Listener,
	v *vault.Vault, source *workloadapi.X509Source) error {
	manager := newManager(s, log, v, source)
	if s.backend == backendMemory {
		if err := throwAwayKey(ctx, v); err != nil {
			return err
		}
	}
	srv := mtls.NewServer(mtls.ServerConfig{
		Handler: server.New(server.Config{
			Vault: v, Operator: manager, Roles: s.roles, Log: log,
			MaxCiphertext: s.maxCiphertext, NoSecrets: s.backend == backendLite,
		}),
		SVID: source, Bundles: source,
		Accept:            func(id spiffeid.ID) bool { return s.roles.Of(id) != role.None },
		Log:               log,
		ReadHeaderTimeout: s.readHeaderTimeout,
	})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	background, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { manager.Run(background) })
	log.Info("nexus started", "address", listener.Addr().String(), "state", v.State(), "backend", s.backend,
		"version", buildinfo.Version("nexus"))

	var failure error
	select {
	case err := <-served:
		failure = fmt.Errorf("serve: %w", err)
		served <- nil
	case <-v.Failed():
	case <-ctx.Done():
	}
	v.StopWrites()
	// A write that was still queued can be the one that fails.
	failure = errors.Join(failure, storeFailure(v))
	// ctx has ended; what is under way still gets a moment.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime(failure))
	defer cancel()
	if err := srv.Shutdown(closing); err != nil {
		log.Warn("stopped with requests under way", "error", err)
	}
	stop()
	wg.Wait()
	log.Info("nexus stopped")
	return errors.Join(failure, <-served)
}

// shutdownTime is short after a storage fault: nothing that is still to come is
// worth waiting for.
func shutdownTime(failure error) time.Duration {
	if failure != nil {
		return 500 * time.Millisecond
	}
	return 8 * time.Second
}

func newManager(s settings, log *slog.Logger, v *vault.Vault, source *workloadapi.X509Source) *rootkey.Manager {
	var m *rootkey.Manager
	client := keeper.NewWatchedHTTPClient(source, source,
		func(id spiffeid.ID) bool { return s.roles.Of(id) == role.Keeper },
		func(address string) { m.Ended(address) })
	newKeeper := func(u *url.URL) *keeper.Client {
		return keeper.NewClient(keeper.ClientConfig{URL: u, HTTP: client})
	}
	var keepers []*keeper.Client
	for _, u := range s.keepers {
		keepers = append(keepers, newKeeper(u))
	}
	m = rootkey.New(rootkey.Config{
		Vault: v, Keepers: keepers, NewKeeper: newKeeper, Backend: s.backend, HasRootKey: s.backend != backendMemory,
		Threshold: s.threshold, Shards: s.shares,
		UpdateInterval: s.updateInterval, SearchInterval: s.searchInterval,
		Version: buildinfo.Version("nexus"), Log: log,
	})
	return m
}

// throwAwayKey opens a vault under a key that nobody else ever has.
func throwAwayKey(ctx context.Context, v *vault.Vault) error {
	birth, err := vault.NewBirth(nil, 0, 0)
	if err != nil {
		return err
	}
	defer birth.Destroy()
	return v.Create(ctx, birth)
}
