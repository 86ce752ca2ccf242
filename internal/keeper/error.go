package keeper

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spiffe/spike/internal/api"
)

// What can go wrong between a Nexus and a Keeper. The Holder returns these, the
// handler puts them on the wire, and the Client returns the same ones.
var (
	// ErrUnreachable: no connection, no valid identity, or no answer in time.
	ErrUnreachable = errors.New("the Keeper cannot be reached")
	// ErrRefused: the Keeper answers, but does not serve this identity.
	ErrRefused = errors.New("the Keeper does not serve this identity")
	// ErrHoldsShare: an active share is changed by its own root key only.
	ErrHoldsShare = errors.New("the Keeper holds an active share, which only its own root key may change")
	// ErrSignature is a case of ErrHoldsShare: there was a signature, by some
	// other key or for something else.
	ErrSignature = fmt.Errorf("%w: the signature does not verify", ErrHoldsShare)
	// ErrNotPending: promote named a root key of which no share is pending.
	ErrNotPending = errors.New("the Keeper has no pending share of that root key")
	// ErrNoShare: an anchor needs an active share to be checked against.
	ErrNoShare = errors.New("the Keeper has no active share")
	// ErrForeign: the anchor is of another cluster than the active share.
	ErrForeign = errors.New("the Keeper holds a share of another cluster")
	// ErrAnchorConflict: at the anchor's place the Keeper was told another MAC.
	// Two stores of one cluster have parted.
	ErrAnchorConflict = errors.New("the Keeper knows another anchor for the same place")
	// ErrInvalid: the Keeper finds the request malformed.
	ErrInvalid = errors.New("the Keeper finds the request malformed")
	// ErrFault: the Keeper failed; its own log says why.
	ErrFault = errors.New("the Keeper failed; its log says why")
	// ErrProtocol: the answer is not one of a Keeper that we understand.
	ErrProtocol = errors.New("the Keeper's answer is not understood")

	// errEmpty is the 404 of a Keeper that holds nothing.
	errEmpty = errors.New("the Keeper is empty")
)

// wire is the one table between errors, statuses and codes. The first that fits
// is sent, so ErrSignature stands before the error that it is a case of.
var wire = [...]struct {
	err    error
	status int
	code   api.Code
}{
	{ErrSignature, http.StatusConflict, "keeper_signature_invalid"},
	{ErrHoldsShare, http.StatusConflict, "keeper_holds_share"},
	{ErrNotPending, http.StatusConflict, "keeper_not_pending"},
	{ErrNoShare, http.StatusConflict, "keeper_no_share"},
	{ErrForeign, http.StatusConflict, "keeper_foreign_cluster"},
	{ErrAnchorConflict, http.StatusConflict, "keeper_anchor_conflict"},
	{ErrInvalid, http.StatusBadRequest, "api_bad_request"},
	{ErrRefused, http.StatusUnauthorized, "access_unauthorized"},
	{errEmpty, http.StatusNotFound, "api_not_found"},
	{ErrFault, http.StatusInternalServerError, "api_internal_error"},
}

func toWire(err error) (status int, code api.Code) {
	for _, w := range wire {
		if errors.Is(err, w.err) {
			return w.status, w.code
		}
	}
	return toWire(ErrFault)
}

// fromWire returns what a status other than 200 stands for. The code must go
// with the status: a proxy's 404 is not a Keeper that says it is empty.
func fromWire(status int, code api.Code) error {
	for _, w := range wire {
		if w.status == status && w.code == code {
			return w.err
		}
	}
	return fmt.Errorf("%w: status %d", ErrProtocol, status)
}
