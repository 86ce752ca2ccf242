package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Header is the JSON of the table header, as it stands there. Ids and digests stay
// text, so that each use says which of the two forms it wants.
type Header struct {
	Format    int    `json:"format"`
	Cluster   string `json:"cluster"`
	KeyID     string `json:"keyId"`
	Threshold int    `json:"threshold"`
	Keepers   []struct {
		URL    string `json:"url"`
		Digest string `json:"digest"`
	} `json:"keepers"`
	Paper []string `json:"paper"`
	Check string   `json:"check"`
}

// ParseHeader reads a header, and refuses one that is of another format. Go's decoder
// takes names in any case; the tests compare them letter by letter.
func ParseHeader(content []byte) (*Header, error) {
	h := &Header{}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if h.Format != version {
		return nil, fmt.Errorf("the header has format %d", h.Format)
	}
	for _, id := range [...]string{h.Cluster, h.KeyID} {
		if b, err := hex.DecodeString(id); err != nil || len(b) != idSize {
			return nil, fmt.Errorf("the header has an id that is none: %q", id)
		}
	}
	if h.Threshold < 1 || h.Threshold > len(h.Keepers) || h.Threshold > len(h.Paper) {
		return nil, errors.New("the header has a threshold that cannot be met")
	}
	return h, nil
}

// idSize is how many bytes a cluster's and a key's id are, decoded.
const idSize = 16

// decoded returns the bytes of an id; ParseHeader has checked it.
func decoded(id string) []byte {
	b, err := hex.DecodeString(id)
	if err != nil {
		panic(err)
	}
	return b
}

// Fits reports whether value is the share of that set and index, from 1.
func (h *Header) Fits(set string, index int, value []byte) bool {
	var want string // of a set or index that there is not, the digest of nothing
	switch {
	case index < 1:
		return false
	case set == "keeper" && index <= len(h.Keepers):
		want = h.Keepers[index-1].Digest
	case set == "paper" && index <= len(h.Paper):
		want = h.Paper[index-1]
	}
	got := sha256.Sum256(h.ShareMessage(set, index, value))
	digest, err := unbase64(want)
	return err == nil && bytes.Equal(digest, got[:])
}

// ShareMessage is what a share's digest is the SHA-256 of.
func (h *Header) ShareMessage(set string, index int, value []byte) []byte {
	m := part(nil, []byte("spike share digest v1"))
	m = part(m, decoded(h.Cluster))
	m = part(m, decoded(h.KeyID))
	m = part(m, []byte(set))
	m = part(m, binary.BigEndian.AppendUint32(nil, uint32(index)))
	return part(m, value)
}

// part appends a part: its length in 4 bytes, then itself. No two lists of parts are
// the same bytes.
func part(b, content []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// number is a number where there is no length before it.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
