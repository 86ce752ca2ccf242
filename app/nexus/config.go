package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spiffe/spike/internal/config"
	"github.com/spiffe/spike/internal/role"
)

// The stores that SPIKE_NEXUS_BACKEND_STORE can name.
const (
	backendSQLite = "sqlite"
	backendMemory = "memory"
	backendLite   = "lite"
)

// settings are what the environment says, checked.
type settings struct {
	address           string // to listen on
	socket            string // the Workload API's
	sourceTimeout     time.Duration
	readHeaderTimeout time.Duration
	roles             role.Domains
	logLevel          slog.Level

	backend        string
	dataDir        string
	maxVersions    int
	maxCiphertext  int
	keepers        []*url.URL
	shares         int
	threshold      int
	updateInterval time.Duration
	searchInterval time.Duration
}

// readSettings reads what a command needs: to serve, everything; to ask a Nexus
// that runs, how to reach it and who it is.
func readSettings(lookup func(string) (string, bool), toServe bool) (settings, error) {
	r := config.New(lookup)
	s := settings{
		address:           r.Address("SPIKE_NEXUS_TLS_PORT", ":8553"),
		socket:            r.EndpointSocket(),
		sourceTimeout:     r.Duration("SPIKE_SPIFFE_SOURCE_TIMEOUT", 30*time.Second, time.Second, time.Hour),
		readHeaderTimeout: r.Duration("SPIKE_HTTP_SERVER_READ_HEADER_TIMEOUT", 10*time.Second, time.Second, time.Minute),
		roles: role.Domains{
			Trusted: r.TrustRoots(),
			Nexus:   r.ComponentTrustRoots("NEXUS"),
			Keeper:  r.ComponentTrustRoots("KEEPER"),
			Pilot:   r.ComponentTrustRoots("PILOT"),
			Lite:    r.ComponentTrustRoots("LITE_WORKLOAD"),
		},
		logLevel:       r.LogLevel(),
		backend:        r.OneOf("SPIKE_NEXUS_BACKEND_STORE", backendSQLite, backendSQLite, backendMemory, backendLite),
		dataDir:        r.Folder("SPIKE_NEXUS_DATA_DIR", "~/.spike/data"),
		maxVersions:    r.Int("SPIKE_NEXUS_MAX_SECRET_VERSIONS", 10, 1, 1000),
		maxCiphertext:  r.Int("SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE", 65536, 1024, 4<<20),
		updateInterval: r.Duration("SPIKE_NEXUS_KEEPER_UPDATE_INTERVAL", 5*time.Minute, time.Second, 24*time.Hour),
		searchInterval: r.Duration("SPIKE_NEXUS_RECOVERY_MAX_INTERVAL", time.Minute, 100*time.Millisecond, time.Hour),
	}
	if toServe && s.backend != backendMemory {
		readKeepers(r, &s)
	}
	if err := r.Err(); err != nil {
		return settings{}, fmt.Errorf("the settings cannot be used:\n%w", err)
	}
	return s, nil
}

func readKeepers(r *config.Reader, s *settings) {
	const peers, shares, threshold = "SPIKE_NEXUS_KEEPER_PEERS", "SPIKE_NEXUS_SHAMIR_SHARES", "SPIKE_NEXUS_SHAMIR_THRESHOLD"
	s.keepers = r.URLs(peers)
	s.shares = r.Int(shares, 3, 1, 255)
	s.threshold = r.Int(threshold, min(2, s.shares), 1, 255)
	switch {
	case len(s.keepers) == 0:
		r.Reject(peers, "names no Keeper; list the Keepers' URLs, for example "+
			"https://keeper-1:8443,https://keeper-2:8443,https://keeper-3:8443")
	case len(s.keepers) != s.shares:
		r.Reject(peers, "names %d Keepers, but %s is %d; each Keeper holds one share", len(s.keepers), shares, s.shares)
	case s.threshold > s.shares:
		r.Reject(threshold, "%d shares are needed, but there are only %d (%s)", s.threshold, s.shares, shares)
	}
}
