package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spiffe/spike/app/identity/internal/attest"
	"github.com/spiffe/spike/app/identity/internal/entry"
	"github.com/spiffe/spike/app/identity/internal/workload"
	"github.com/spiffe/spike/internal/buildinfo"
)

const (
	// lookEvery is half of how long an edit takes to count, since the entries
	// must read the same twice.
	lookEvery = 500 * time.Millisecond

	// perUser is how many connections, and how many streams, one user may have
	// open. A client needs one of each.
	perUser = 1024

	// healthTime is how long a health check waits for an answer.
	healthTime = 5 * time.Second
)

// run does what the command line says; ctx ends a serving provider.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) error {
	s, err := parse(args, lookup)
	if err != nil {
		return err
	}
	switch s.command {
	case "help":
		_, err = io.WriteString(stdout, help)
	case "version":
		_, err = fmt.Fprintln(stdout, buildinfo.Version("identity"))
	case "check":
		err = check(s, stdout, stderr)
	case "health":
		ctx, cancel := context.WithTimeout(ctx, healthTime)
		defer cancel()
		err = workload.Ask(ctx, s.socket)
	default:
		logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
		err = serve(ctx, s, logger)
	}
	return err
}

// check reads the entries as run would. That a named executable is not there yet
// is worth a note, and no fault: it may be built later.
func check(s settings, stdout, stderr io.Writer) error {
	source, err := source(s)
	if err != nil {
		return err
	}
	set, err := source.Load()
	if err != nil {
		return err
	}
	for _, e := range set.Entries {
		if e.Path == "" {
			continue
		}
		if _, err := os.Stat(e.Path); err != nil {
			if _, err := fmt.Fprintf(stderr, "%s: nobody gets %s for now: %v\n", e.Place, e.ID, err); err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintln(stdout, set)
	return err
}

// source is the entries' files, read as the kernel reports this process's user of
// callers too.
func source(s settings) (*entry.Source, error) {
	unknown, err := attest.UnknownUser()
	if err != nil {
		return nil, err
	}
	owner, err := owner(uint32(os.Geteuid()), unknown)
	if err != nil {
		return nil, err
	}
	return entry.NewSource(s.entries, owner), nil
}

// owner is the user that entries without uid mean, and whose files are trusted: the
// one whom this process acts as. unknown stands for users without a number here.
func owner(euid uint32, unknown *uint32) (uint32, error) {
	if unknown != nil && euid == *unknown {
		return 0, fmt.Errorf("identity runs as uid %d, which in this user namespace stands for every user that has no number there, so that own files and callers cannot be told from those of others; run it as another user", euid)
	}
	return euid, nil
}

// serve runs the provider until ctx ends. It stops in the reverse order of its
// start: streams, socket, lock.
func serve(ctx context.Context, s settings, logger *slog.Logger) (err error) {
	if err := noCore(logger); err != nil {
		return err
	}
	source, err := source(s)
	if err != nil {
		return err
	}
	set, err := source.Load()
	if err != nil {
		return err
	}
	most, err := mostPerUser()
	if err != nil {
		return err
	}
	creds, err := attest.NewCredentials(attest.NewQuota("connections", most, logger))
	if err != nil {
		return err
	}
	server, err := workload.New(set, attest.NewQuota("streams", most, logger), logger)
	if err != nil {
		return err
	}
	socket, err := workload.Listen(s.socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socket.Release()) }()

	watching, stopWatching := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		source.Watch(watching, lookEvery, logger, func(set *entry.Set) {
			if err := server.Update(set); err != nil {
				logger.Error("the new entries could not be put in force; the old ones stay", "error", err)
			}
		})
	})
	defer watcher.Wait()
	defer stopWatching()

	logger.Info("identity provider listening", "socket", s.socket, "entries", len(set.Entries),
		"trust_domain", set.TrustDomain.Name(), "ttl", set.TTL)
	err = server.Serve(ctx, socket, creds)
	logger.Info("identity provider stopped")
	return err
}

// mostPerUser keeps one user from taking all file descriptors: a connection
// takes two, and half of all are for others.
func mostPerUser() (int, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return int(min(perUser, max(files.Cur/4, 1))), nil
}

// noCore keeps the CA's key out of core files. A handler that cores are piped to
// is not bound by the limit, but gets no memory to write either.
func noCore(logger *slog.Logger) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switch core files off: %w", err)
	}
	if err := os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0); err != nil {
		logger.Warn("a core file that the system pipes elsewhere could hold the CA key", "error", err)
	}
	return nil
}
