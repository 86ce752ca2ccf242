package api

import (
	"time"

	"github.com/spiffe/spike/internal/shard"
)

// OperatorInitRequest makes a new cluster out of an empty store.
type OperatorInitRequest struct{}

// OperatorInitResponse says what was made.
type OperatorInitResponse struct {
	Cluster   string `json:"cluster,omitempty"`
	KeyID     string `json:"keyId,omitempty"`
	Threshold int    `json:"threshold,omitempty"`
	Keepers   int    `json:"keepers,omitempty"`
	Shards    int    `json:"shards,omitempty"`
	Err       Code   `json:"err,omitempty"`
}

// OperatorStatusRequest asks for the state of Nexus and its Keepers.
type OperatorStatusRequest struct{}

// The states of Nexus.
const (
	StateUninitialized = "uninitialized"
	StateLocked        = "locked"
	StateOpen          = "open"
	StateBehind        = "behind"
	StateFailed        = "failed"
)

// What a Keeper may hold, seen from a Nexus. Nexus knows what fits only once it
// has a header of its own.
const (
	HoldsUnknown = "unknown" // not looked at, or it does not answer
	HoldsNothing = "nothing"
	HoldsPending = "pending" // a share that was never made active
	HoldsShare   = "share"   // the share that belongs there
	HoldsCorrupt = "corrupt" // a share that does not match its digest
	HoldsForeign = "foreign" // a share of another cluster
	HoldsStale   = "stale"   // a share of an outdated root key
	HoldsOther   = "other"   // the share of another index
)

// KeeperStatus is one Keeper as Nexus last saw it.
type KeeperStatus struct {
	Index     int       `json:"index"`
	URL       string    `json:"url"`
	Reachable bool      `json:"reachable"`
	Holds     string    `json:"holds"`
	Detail    string    `json:"detail,omitempty"`
	Checked   time.Time `json:"checked,omitzero"`
}

// OperatorStatusResponse is the state of Nexus. Reason is a sentence for people.
type OperatorStatusResponse struct {
	State   string `json:"state,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Backend string `json:"backend,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	KeyID   string `json:"keyId,omitempty"`
	// Threshold is how many of the Keepers' shares, or of the recovery shards,
	// make the root key.
	Threshold int `json:"threshold,omitempty"`
	// Shards is how many recovery shards there are.
	Shards  int            `json:"shards,omitempty"`
	Keepers []KeeperStatus `json:"keepers,omitempty"`
	// Unassigned has the URLs that Nexus is configured with, and that no share
	// belongs to.
	Unassigned []string `json:"unassigned,omitempty"`
	// Spare is how many more Keepers may be lost while a restarted Nexus still
	// recovers by itself; below zero it would not.
	Spare    *int  `json:"spare,omitempty"`
	Secrets  *int  `json:"secrets,omitempty"`
	Sequence int64 `json:"sequence,omitempty"`
	// Behind says, in the state "behind", what a Keeper was told of this store.
	Behind *OperatorRollback `json:"behind,omitempty"`
	// Mismatch says, while Nexus is locked, that enough shares were found and do not
	// make the root key that the store wants: its header was changed.
	Mismatch bool `json:"mismatch,omitempty"`
	// Collected is how many recovery shards were fed in while locked.
	Collected int       `json:"collected,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Version   string    `json:"version,omitempty"`
	Err       Code      `json:"err,omitempty"`
}

// OperatorRollback says that a store is behind what a Keeper was told of it, or
// that the two have parted.
type OperatorRollback struct {
	Epoch        int64 `json:"epoch"`
	Sequence     int64 `json:"sequence"` // of the store: the last commit that it has
	ToldEpoch    int64 `json:"toldEpoch"`
	ToldSequence int64 `json:"toldSequence"`
}

// OperatorAcceptRequest accepts a store that is behind, at the sequence that the
// caller saw in its status.
type OperatorAcceptRequest struct {
	Sequence int64 `json:"sequence"`
}

// OperatorAcceptResponse says what was accepted.
type OperatorAcceptResponse struct {
	Behind *OperatorRollback `json:"behind,omitempty"`
	Err    Code              `json:"err,omitempty"`
}

// SetErr makes the answer one that failed.
func (r *OperatorAcceptResponse) SetErr(code Code) { r.Err = code }

// OperatorKeeperRequest says where Keepers are from now on: URLs, by the indexes of
// their shares.
type OperatorKeeperRequest struct {
	Replace map[int]string `json:"replace"`
}

// OperatorKeeperResponse has the URLs of all Keepers, by index from 1: what the
// setting SPIKE_NEXUS_KEEPER_PEERS should be; and what became of those that were
// replaced.
type OperatorKeeperResponse struct {
	Keepers  []string         `json:"keepers,omitempty"`
	Replaced []ReplacedKeeper `json:"replaced,omitempty"`
	Err      Code             `json:"err,omitempty"`
}

// ReplacedKeeper is a Keeper whose place another has. It has no share any more when
// it is erased; Detail is a sentence for people either way.
type ReplacedKeeper struct {
	Index  int    `json:"index"`
	URL    string `json:"url"`
	Erased bool   `json:"erased"`
	Detail string `json:"detail"`
}

// SetErr makes the answer one that failed.
func (r *OperatorKeeperResponse) SetErr(code Code) { r.Err = code }

// OperatorRecoverRequest asks for the recovery shards.
type OperatorRecoverRequest struct{}

// OperatorRecoverResponse has every recovery shard, by its index from 1. The
// fields after Shards are additions that say which shards these are.
type OperatorRecoverResponse struct {
	Shards    map[int]shard.Value `json:"shards"`
	Cluster   string              `json:"cluster,omitempty"`
	KeyID     string              `json:"keyId,omitempty"`
	Threshold int                 `json:"threshold,omitempty"`
	Err       Code                `json:"err,omitempty"`
}

// OperatorRestoreRequest feeds one recovery shard in.
type OperatorRestoreRequest struct {
	ID    int         `json:"id"`
	Shard shard.Value `json:"shard"`
	// Strict asks that a shard given before be refused rather than passed over.
	Strict bool `json:"strict,omitempty"`
	// Cluster and KeyID, when the sender knows them, say what the shard is of:
	// a refusal can then tell a foreign or outdated shard from a mistyped one.
	Cluster string `json:"cluster,omitempty"`
	KeyID   string `json:"keyId,omitempty"`
}

// OperatorRestoreResponse says how far the restore is.
type OperatorRestoreResponse struct {
	Collected int  `json:"collected"`
	Remaining int  `json:"remaining"`
	Restored  bool `json:"restored"`
	// Behind: the root key is there, but nothing is served, since the store is behind
	// what a Keeper was told.
	Behind bool `json:"behind,omitempty"`
	Err    Code `json:"err,omitempty"`
}

// SetErr makes the answer one that failed.
func (r *OperatorInitResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *OperatorStatusResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *OperatorRecoverResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *OperatorRestoreResponse) SetErr(code Code) { r.Err = code }
