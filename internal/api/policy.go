package api

import (
	"time"
)

// PolicyPutRequest creates or replaces the policy of that name.
type PolicyPutRequest struct {
	Name            string       `json:"name"`
	SPIFFEIDPattern string       `json:"spiffeidPattern"`
	PathPattern     string       `json:"pathPattern"`
	Permissions     List[string] `json:"permissions"`
}

// PolicyPutResponse answers a put. A policy's id is its name.
type PolicyPutResponse struct {
	ID  string `json:"id"`
	Err Code   `json:"err,omitempty"`
}

// PolicyRequest names a policy to get or delete.
type PolicyRequest struct {
	ID string `json:"id"`
}

// Policy is a policy as it is answered.
type Policy struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// SPIFFEIDPattern is there twice: existing clients read it under a misspelt
	// name, which is part of the wire.
	SPIFFEIDPattern         string    `json:"spiffeidPattern"`
	SPIFFEIDPatternMisspelt string    `json:"spiffiedPattern"`
	PathPattern             string    `json:"pathPattern"`
	Permissions             []string  `json:"permissions"`
	CreatedAt               time.Time `json:"createdAt"`
	UpdatedAt               time.Time `json:"updatedAt"`
}

// PolicyGetResponse answers a get.
type PolicyGetResponse struct {
	Policy
	Err Code `json:"err,omitempty"`
}

// PolicyListRequest asks for all policies, or those whose patterns are exactly
// these.
type PolicyListRequest struct {
	SPIFFEIDPattern string `json:"spiffeidPattern,omitempty"`
	PathPattern     string `json:"pathPattern,omitempty"`
}

// PolicyListItem is one line of a list.
type PolicyListItem struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// PolicyListResponse answers a list, sorted by name.
type PolicyListResponse struct {
	Policies []PolicyListItem `json:"policies"`
	Err      Code             `json:"err,omitempty"`
}

// PolicyDeleteResponse answers a delete.
type PolicyDeleteResponse struct {
	Err Code `json:"err,omitempty"`
}

// SetErr makes the answer one that failed.
func (r *PolicyPutResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *PolicyGetResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *PolicyListResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *PolicyDeleteResponse) SetErr(code Code) { r.Err = code }
