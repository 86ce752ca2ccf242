package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// checkPeers compares the configured Keepers with those that the store's shares
// belong to. Their order means nothing. Where only some differ, somebody has
// mistyped one, or one has moved, and the start is refused with what to do about
// either. Where all do, the store has come to another place, from a backup or with
// its disk: it must be possible to bring it back there, so that this is said, in
// the log and in status, until they are assigned.
func checkPeers(h *vault.Header, s settings, log *slog.Logger) error {
	if h == nil || s.backend == backendMemory {
		return nil
	}
	var configured []string
	for _, u := range s.keepers {
		configured = append(configured, u.String())
	}
	made := h.URLs()
	var missing, others []string
	for i, url := range made {
		if !slices.Contains(configured, url) {
			missing = append(missing, fmt.Sprintf("%s (Keeper %d)", url, i+1))
		}
	}
	for _, url := range configured {
		if !slices.Contains(made, url) {
			others = append(others, url)
		}
	}
	switch {
	case len(missing) == 0 && len(others) == 0:
		return nil
	case len(missing) == len(made):
		log.Warn("SPIKE_NEXUS_KEEPER_PEERS names none of the Keepers that the store's shares belong to; "+
			"bring the root key back with recovery shards, and assign the Keepers with: spike operator keeper replace",
			"configured", configured, "store", made)
		return nil
	}
	var what []string
	if len(others) > 0 {
		what = append(what, "names "+strings.Join(others, ", ")+", which the cluster does not know")
	}
	if len(missing) > 0 {
		what = append(what, "leaves out "+strings.Join(missing, ", "))
	}
	return fmt.Errorf("SPIKE_NEXUS_KEEPER_PEERS %s. Correct it; the cluster in %s has %s. If a Keeper has moved, "+
		"start with that list all the same, and then run: spike operator keeper replace INDEX URL",
		strings.Join(what, " and "), s.dataDir, strings.Join(made, ","))
}
