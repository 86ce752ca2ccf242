package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/buildinfo"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/mtls"
	"github.com/spiffe/spike/internal/process"
	"github.com/spiffe/spike/internal/role"
	"github.com/spiffe/spike/internal/secret"
)

const usage = `keeper holds one share of a SPIKE root key, in memory alone, for Nexus.

Usage:
  keeper [run]       serve until SIGTERM
  keeper health      ask the Keeper that runs here whether it is alive (exit 0 or 1)
  keeper --version
  keeper --help

Settings, from the environment:
  SPIFFE_ENDPOINT_SOCKET                 the Workload API, such as unix:///run/spire/agent/api.sock
  SPIKE_KEEPER_TLS_PORT                  where to listen (:8443)
  SPIKE_TRUST_ROOT                       the trust domains, comma-separated (spike.ist)
  SPIKE_TRUST_ROOT_NEXUS                 where a Nexus may come from (the first of SPIKE_TRUST_ROOT)
  SPIKE_TRUST_ROOT_KEEPER                where a Keeper may come from (the first of SPIKE_TRUST_ROOT)
  SPIKE_SPIFFE_SOURCE_TIMEOUT            how long a start waits for an identity (30s)
  SPIKE_HTTP_SERVER_READ_HEADER_TIMEOUT  how long a caller may take to begin (10s)
  SPIKE_SYSTEM_LOG_LEVEL                 DEBUG, INFO, WARN or ERROR (WARN)
`

func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) error {
	command, err := process.Command("keeper", usage, args, stdout)
	if command == "" {
		return err
	}
	s, err := readSettings(lookup)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
	if command == process.Health {
		return health(ctx, s, log, stdout)
	}
	return serve(ctx, s, log)
}

// account lets all who are not served have a quarter of the connections at most,
// and so they cannot keep Nexus out. Keepers, whose health checks these are, have
// theirs by themselves: to be crowded out would look like ill health.
func account(roles role.Domains) func(spiffeid.ID) string {
	return func(id spiffeid.ID) string {
		switch r := roles.Of(id); r {
		case role.Nexus:
			return id.String()
		case role.Keeper:
			return r.String()
		default:
			return "others"
		}
	}
}

// serve holds shares until ctx ends.
func serve(ctx context.Context, s settings, log *slog.Logger) (err error) {
	if err := process.ForbidCore(); err != nil {
		return err
	}
	// A machine that does not let a Keeper lock memory must say so now, and not to
	// the first Nexus that brings a share.
	probe, err := secret.RandomKey(1)
	if err != nil {
		return err
	}
	probe.Destroy()
	// A Keeper is one of several small processes on a machine, and idle nearly
	// always: its heap's live part is about 1 MB, and collecting garbage early
	// costs it nothing that anyone would notice.
	debug.SetGCPercent(25)

	// Listening comes before the identity, so that a taken port is told at once.
	listener, err := process.Listen(s.address, "SPIKE_KEEPER_TLS_PORT")
	if err != nil {
		return err
	}
	// The server closes it too; closing it twice is no mistake here.
	defer func() { _ = listener.Close() }()

	source, err := openIdentity(ctx, s, s.sourceTimeout, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop before there was anything to stop
		}
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	own, err := source.GetX509SVID()
	if err != nil {
		return fmt.Errorf("own identity: %w", err)
	}

	holder := keeper.NewHolder(log)
	defer holder.Close()
	server := mtls.NewServer(mtls.ServerConfig{
		Handler: keeper.NewHandler(holder, &s.roles, log),
		SVID:    source,
		Bundles: source,
		// Whoever is of a trusted domain gets an answer, which is 401 for all but
		// Nexus: that tells an operator more than a failed handshake does.
		Accept:            func(id spiffeid.ID) bool { return s.roles.Of(id) != role.None },
		Log:               log,
		ReadHeaderTimeout: s.readHeaderTimeout,
		ReadTimeout:       s.readHeaderTimeout + 5*time.Second,
		WriteTimeout:      10 * time.Second,
		// Nexus needs two. The rest bounds what idle strangers cost.
		MaxConnections: 512,
		Account:        account(s.roles),
		HTTP1Only:      true,
	})
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	log.Info("keeper started, empty", "address", listener.Addr().String(), "id", own.ID.String(),
		"instance", holder.Instance(), "version", buildinfo.Version("keeper"))

	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// ctx has ended; what is under way still gets a moment.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		log.Warn("stopped with requests under way", "error", err)
	}
	holder.Close()
	log.Info("keeper stopped, shares wiped")
	return <-done
}
