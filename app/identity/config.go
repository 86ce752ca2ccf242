package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spiffe/spike/internal/config"
)

const (
	exitFailed = 1
	exitUsage  = 2

	socketVariable = "SPIFFE_ENDPOINT_SOCKET"
)

// errUsage marks errors of the one who called, which end with exitUsage.
var errUsage = errors.New("run identity --help for how it is used")

const help = `Identity gives SPIFFE identities to the processes of this machine, by user and
executable. Stock SPIFFE clients find it by SPIFFE_ENDPOINT_SOCKET.

Usage:
  identity run --entries FILE [--entries FILE ...] [--socket PATH]
        Serve until SIGTERM or SIGINT. Files are read again when they change.
  identity check --entries FILE [--entries FILE ...]
        Read the files, and say what is wrong with them.
  identity health [--socket PATH]
        Ask the one that runs; exit 0 when it answers.
  identity --version
  identity --help

An entries file:
  trust_domain: spike.ist
  ttl: 1h                    # from 2s to 24h; an SVID is replaced at half of it
  entries:
    - id: /spike/nexus
      path: ../bin/nexus     # relative to this file's folder, or absolute
    - id: /spike/pilot/role/superuser
      path: ../bin/spike
      uid: 1000              # every selector given must match
    - id: /backup
      uid: 1001              # whatever this user runs
      gid: 1001              # the primary group

An entry without uid is for the user that identity runs as, and then it must
have a path. The executable counts, not its name: after a file was replaced, a
process that still runs the old one is not recognised. A script is its
interpreter. A caller with several entries gets its SVIDs in their order.

This tells the honest programs of one user apart, not hostile ones: whoever is
that user can become any of them. Where roles must be kept apart, run them as
different users, or use SPIRE.

Environment:
  SPIFFE_ENDPOINT_SOCKET   unix:///PATH, where --socket is not given
  SPIKE_SYSTEM_LOG_LEVEL   DEBUG, INFO, WARN (the default) or ERROR

Exit codes: 0 done, 1 failed, 2 called wrongly.
`

// settings is the command line and the environment, checked.
type settings struct {
	// command is run, check, health, help or version.
	command string

	// entries are the files, in order.
	entries []string

	// socket is a path.
	socket string

	logLevel slog.Level
}

// listFlag is a flag that may be given several times.
type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

func (l *listFlag) Set(v string) error {
	if v == "" {
		return errors.New("the name is empty")
	}
	*l = append(*l, v)
	return nil
}

// parse reads the command line, and the environment through lookup. Its errors
// are all errUsage.
func parse(args []string, lookup func(string) (string, bool)) (settings, error) {
	if len(args) == 0 {
		return settings{}, usage("no command; give run, check or health")
	}
	s := settings{command: args[0]}
	switch s.command {
	case "run", "check", "health":
	case "help", "-h", "-help", "--help":
		return settings{command: "help"}, nil
	case "version", "-version", "--version":
		return settings{command: "version"}, nil
	default:
		return settings{}, usage("unknown command %q; give run, check or health", s.command)
	}

	flags := flag.NewFlagSet(s.command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error.
	if s.command != "health" {
		flags.Var((*listFlag)(&s.entries), "entries", "")
	}
	if s.command != "check" {
		flags.StringVar(&s.socket, "socket", "", "")
	}
	if err := flags.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return settings{command: "help"}, nil
	} else if err != nil {
		return settings{}, usage("%s: %v", s.command, err)
	}
	if flags.NArg() > 0 {
		return settings{}, usage("%s: unexpected argument %q", s.command, flags.Arg(0))
	}
	if s.command != "health" && len(s.entries) == 0 {
		return settings{}, usage("%s: no entries; give --entries FILE", s.command)
	}

	env := config.New(lookup)
	s.logLevel = env.LogLevel()
	if s.command != "check" {
		var err error
		if s.socket, err = socketPath(s.socket, env.String(socketVariable, "")); err != nil {
			return settings{}, usage("%s: %v", s.command, err)
		}
	}
	if err := env.Err(); err != nil {
		return settings{}, usage("%v", err)
	}
	return s, nil
}

// usage is an error that ends with exitUsage and points at the help.
func usage(format string, args ...any) error {
	return fmt.Errorf("%s; %w", fmt.Sprintf(format, args...), errUsage)
}

// socketPath decides between the flag, a path or an address, and the
// environment, an address.
func socketPath(flagged, address string) (string, error) {
	if flagged != "" && !strings.HasPrefix(flagged, "unix:") {
		return flagged, nil
	}
	name := "--socket"
	if flagged == "" {
		name, flagged = socketVariable, address
	}
	if flagged == "" {
		return "", fmt.Errorf("no socket; give --socket PATH, or set %s to unix:///PATH", socketVariable)
	}
	u, err := url.Parse(flagged)
	if err != nil || u.Scheme != "unix" || u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%s: %q is not the address of a Unix socket; write unix:///PATH, with an absolute path", name, flagged)
	}
	return filepath.Clean(u.Path), nil
}
