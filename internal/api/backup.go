package api

// OctetStream is the content type of what is not JSON.
const OctetStream = "application/octet-stream"

// OperatorBackupRequest asks for a backup: the answer is a stream in the format
// of package backup. Only an error is JSON.
type OperatorBackupRequest struct{}

// OperatorBackupResponse is the answer of a backup that failed.
type OperatorBackupResponse struct {
	Err Code `json:"err,omitempty"`
}

// SetErr makes the answer one that failed.
func (r *OperatorBackupResponse) SetErr(code Code) { r.Err = code }

// OperatorLoadResponse says what was loaded from a backup, which is the body of
// its request. Nexus is locked then.
type OperatorLoadResponse struct {
	Cluster   string `json:"cluster,omitempty"`
	KeyID     string `json:"keyId,omitempty"`
	Threshold int    `json:"threshold,omitempty"`
	Shards    int    `json:"shards,omitempty"`
	Sequence  int64  `json:"sequence,omitempty"`
	Err       Code   `json:"err,omitempty"`
}

// SetErr makes the answer one that failed.
func (r *OperatorLoadResponse) SetErr(code Code) { r.Err = code }
