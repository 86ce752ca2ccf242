package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spiffe/spike/internal/config"
	"github.com/spiffe/spike/internal/role"
)

// settings are what the environment says, checked.
type settings struct {
	address           string // to listen on
	socket            string // the Workload API's
	sourceTimeout     time.Duration
	readHeaderTimeout time.Duration
	roles             role.Domains
	logLevel          slog.Level
}

func readSettings(lookup func(string) (string, bool)) (settings, error) {
	r := config.New(lookup)
	s := settings{
		address:           r.Address("SPIKE_KEEPER_TLS_PORT", ":8443"),
		socket:            r.EndpointSocket(),
		sourceTimeout:     r.Duration("SPIKE_SPIFFE_SOURCE_TIMEOUT", 30*time.Second, time.Second, time.Hour),
		readHeaderTimeout: r.Duration("SPIKE_HTTP_SERVER_READ_HEADER_TIMEOUT", 10*time.Second, time.Second, time.Minute),
		roles: role.Domains{
			Trusted: r.TrustRoots(),
			Nexus:   r.ComponentTrustRoots("NEXUS"),
			Keeper:  r.ComponentTrustRoots("KEEPER"),
		},
		logLevel: r.LogLevel(),
	}
	if err := r.Err(); err != nil {
		return settings{}, fmt.Errorf("the settings cannot be used:\n%w", err)
	}
	return s, nil
}
