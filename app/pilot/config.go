package main

import (
	"os"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/cli"
	"github.com/spiffe/spike/internal/config"
	"github.com/spiffe/spike/internal/role"
)

// loadConfig is called by the commands that talk to Nexus, and by no other.
func loadConfig() (cli.Config, error) {
	r := config.New(os.LookupEnv)
	c := cli.Config{
		NexusURL: r.URL("SPIKE_NEXUS_API_URL", "https://localhost:8553"),
		// Not set is told apart from unusable, so it is not r.EndpointSocket.
		WorkloadAPI: r.String("SPIFFE_ENDPOINT_SOCKET", ""),
		Roles: role.Domains{
			Trusted: r.TrustRoots(),
			Nexus:   r.ComponentTrustRoots("NEXUS"),
			Pilot:   r.ComponentTrustRoots("PILOT"),
			// These two are for "policy test" alone, which decides as Nexus does.
			Keeper: r.ComponentTrustRoots("KEEPER"),
			Lite:   r.ComponentTrustRoots("LITE_WORKLOAD"),
		},
		IdentityTimeout: r.Duration("SPIKE_SPIFFE_SOURCE_TIMEOUT", 5*time.Second, 100*time.Millisecond, 10*time.Minute),
		NoColor:         r.String("NO_COLOR", "") != "",
	}
	return c, r.Err()
}

// loadRecoveryDir is apart from the rest, since its default needs a home that a
// program in a container may not have.
func loadRecoveryDir() (string, error) {
	r := config.New(os.LookupEnv)
	dir := r.Folder("SPIKE_PILOT_RECOVERY_DIR", "~/.spike/recover")
	return dir, r.Err()
}
