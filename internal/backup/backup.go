// Package backup is the file that a copy of a store travels in: a line that says
// what it is, the store's bytes, and a hash over both.
package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Format is what the first line of every backup names. A reader refuses another.
const Format = "spike-backup/1"

// The errors of this package say, wrapped, what is wrong with a backup.
var (
	// ErrNoBackup means that it does not begin as a backup does.
	ErrNoBackup = errors.New("this is not a backup")
	// ErrFormat means a format that this program does not know.
	ErrFormat = errors.New("a backup of another format")
	// ErrCut means that it ends too early.
	ErrCut = errors.New("the backup is cut off")
	// ErrDamaged means that its bytes are not those that were written.
	ErrDamaged = errors.New("the backup is damaged")
)

// maxHead is the longest first line in bytes, its end included.
const maxHead = 4096

// Head is the first line of a backup. It is there for people and for a check
// before anything is done; the store inside vouches for itself.
type Head struct {
	Format    string    `json:"format"`
	Cluster   string    `json:"cluster"`
	KeyID     string    `json:"keyId"`
	Threshold int       `json:"threshold"` // how many recovery shards open it
	Shards    int       `json:"shards"`    // of how many
	Created   time.Time `json:"created"`
	Epoch     uint64    `json:"epoch"`
	Sequence  uint64    `json:"sequence"` // the last commit that is in it
	Secrets   int       `json:"secrets"`
	Size      int64     `json:"size"` // of the store, in bytes
}

// Total is the length of the whole backup in bytes.
func (h *Head) Total() (int64, error) {
	line, err := h.encode()
	return int64(len(line)) + h.Size + hashSize, err
}

func (h *Head) encode() ([]byte, error) {
	h.Format = Format
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the head of a backup: %w", err)
	}
	if line = append(line, '\n'); len(line) > maxHead {
		return nil, fmt.Errorf("the head of a backup has %d bytes, and may have %d", len(line), maxHead)
	}
	return line, nil
}

// parseHead reads the first line without its end.
func parseHead(line []byte) (Head, error) {
	var version struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(line, &version); err != nil || version.Format == "" {
		return Head{}, fmt.Errorf("%w: its first line does not say so", ErrNoBackup)
	}
	if version.Format != Format {
		return Head{}, fmt.Errorf("%w: it is %.64q, and this program knows %q; use the release that wrote it, or a newer one",
			ErrFormat, version.Format, Format)
	}
	var h Head
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return Head{}, fmt.Errorf("%w: its first line is not as this format's should be", ErrDamaged)
	}
	if h.Cluster == "" || h.KeyID == "" || h.Size <= 0 || h.Threshold < 0 || h.Threshold > h.Shards || h.Secrets < 0 {
		return Head{}, fmt.Errorf("%w: its first line makes no sense", ErrDamaged)
	}
	return h, nil
}
