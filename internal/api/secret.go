package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spiffe/spike/internal/secret"
)

// Values is the content of one version of a secret. JSON carries it as it is,
// since that is its purpose; nothing else prints it.
type Values map[string]string

// String returns a placeholder.
func (Values) String() string { return secret.Placeholder }

// GoString returns a placeholder.
func (Values) GoString() string { return secret.Placeholder }

// Format writes a placeholder, whatever the verb.
func (Values) Format(f fmt.State, _ rune) {
	// A formatter has nowhere to report a failed write.
	_, _ = io.WriteString(f, secret.Placeholder)
}

// LogValue returns a placeholder.
func (Values) LogValue() slog.Value { return slog.StringValue(secret.Placeholder) }

// UnmarshalJSON reads an object of strings. The standard library would take a
// null in the place of a string for an empty one.
func (v *Values) UnmarshalJSON(in []byte) error {
	var loose map[string]*string
	if err := json.Unmarshal(in, &loose); err != nil {
		return errors.New("values: want an object of strings")
	}
	if loose == nil {
		*v = nil
		return nil
	}
	values := make(Values, len(loose))
	for key, value := range loose {
		if value == nil {
			return errors.New("values: null is not a string")
		}
		values[key] = *value
	}
	*v = values
	return nil
}

// SecretPutRequest writes a new version of a secret.
type SecretPutRequest struct {
	Path   string `json:"path"`
	Values Values `json:"values"`
	// CAS, when given, must be the current version; 0 means a new path.
	CAS *int `json:"cas,omitempty"`
	// Return is "" or "version", which asks for the written version's number.
	Return string `json:"return,omitempty"`
}

// SecretPutResponse answers a put.
type SecretPutResponse struct {
	Version int  `json:"version,omitempty"`
	Err     Code `json:"err,omitempty"`
}

// SecretGetRequest reads one version; 0 is the current one.
type SecretGetRequest struct {
	Path    string `json:"path"`
	Version int    `json:"version"`
}

// SecretGetResponse answers a get.
type SecretGetResponse struct {
	Data Values `json:"data"`
	Err  Code   `json:"err,omitempty"`
}

// SecretListRequest asks for paths of secrets: those that begin with Prefix and
// come after After, at most Limit of them; the zero request asks for all.
type SecretListRequest struct {
	Prefix string `json:"prefix,omitempty"`
	After  string `json:"after,omitempty"`
	Limit  int    `json:"limit,omitempty"`
}

// SecretListResponse answers a list: the paths in byte order.
type SecretListResponse struct {
	Keys []string `json:"keys"`
	Err  Code     `json:"err,omitempty"`
}

// SecretVersionsRequest names versions of a secret to delete or undelete; 0, or
// none at all, is the current one. To destroy, at least one must be named.
type SecretVersionsRequest struct {
	Path     string    `json:"path"`
	Versions List[int] `json:"versions"`
}

// SecretVersionsResponse answers a delete, undelete or destroy.
type SecretVersionsResponse struct {
	Err Code `json:"err,omitempty"`
}

// SecretMetadataResponse answers a metadata get, which is asked for with a
// [SecretGetRequest]. It has no values.
type SecretMetadataResponse struct {
	Versions map[int]SecretVersion `json:"versions,omitempty"`
	Metadata SecretMetadata        `json:"metadata"`
	Err      Code                  `json:"err,omitempty"`
}

// SecretVersion is one version that is kept. DeletedTime is nil unless it is
// deleted; Destroyed means that it cannot be undeleted.
type SecretVersion struct {
	CreatedTime time.Time  `json:"createdTime"`
	Version     int        `json:"version"`
	DeletedTime *time.Time `json:"deletedTime"`
	Destroyed   bool       `json:"destroyed,omitempty"`
}

// SecretMetadata is what is known of a secret as a whole.
type SecretMetadata struct {
	CurrentVersion int       `json:"currentVersion"`
	OldestVersion  int       `json:"oldestVersion"`
	CreatedTime    time.Time `json:"createdTime"`
	UpdatedTime    time.Time `json:"updatedTime"`
	MaxVersions    int       `json:"maxVersions"`
}

// SetErr makes the answer one that failed.
func (r *SecretPutResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *SecretGetResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *SecretListResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *SecretVersionsResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *SecretMetadataResponse) SetErr(code Code) { r.Err = code }
