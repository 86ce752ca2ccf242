package shard

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Origin says which root key of which cluster a share is of. Its zero value is an
// origin that is not known.
type Origin struct {
	Cluster, KeyID string
}

// maxID is the longest id that a line may have. Those of Nexus have 32 digits; a line
// must fit into what a terminal's prompt takes.
const maxID = 64

// checkSize is how many bytes of a hash a line ends with: a slip of the finger goes
// unnoticed once in four thousand million, and nobody types more digits than needed.
const checkSize = 4

// ErrCheck means that a line is of the long form, and that its check does not fit: it
// was mistyped or cut.
var ErrCheck = fmt.Errorf("%w: its check does not fit: a character, or the index, is wrong or missing", ErrFormat)

// Line writes the form that people handle, without a newline:
// spike:INDEX:HEX:CLUSTER:KEY:CHECK. For an origin that is not known, or whose ids do
// not fit into a line, it is spike:INDEX:HEX. The caller wipes it.
func Line(index int, v *Value, of Origin) []byte {
	// Room for all of it at once leaves no shorter copy behind.
	out := make([]byte, 0, 16+2*Size+2*maxID+2*checkSize)
	out = fmt.Appendf(out, "spike:%d:", index)
	out = hex.AppendEncode(out, v[:])
	if !isID([]byte(of.Cluster)) || !isID([]byte(of.KeyID)) {
		return out
	}
	out = fmt.Appendf(out, ":%s:%s", of.Cluster, of.KeyID)
	check := checkOf(out)
	return hex.AppendEncode(append(out, ':'), check[:])
}

// ParseLine reads what [Line] wrote, in small letters or capitals; space around it is
// ignored. Errors are [ErrFormat], or [ErrCheck], and say what is wrong without
// repeating it. It makes no string of what may be of a share, which nobody could wipe.
func ParseLine(line []byte) (index int, v Value, of Origin, err error) {
	line = bytes.TrimSpace(line)
	fields := bytes.Split(line, []byte(":"))
	if len(fields) != 3 && len(fields) != 6 || string(fields[0]) != "spike" {
		return 0, v, of, fmt.Errorf("%w: want spike:INDEX:HEX:CLUSTER:KEY:CHECK, or spike:INDEX:HEX", ErrFormat)
	}
	number, digits := fields[1], fields[2]
	// Longer than any index, it may be a part of a shard.
	if len(number) <= 3 {
		index, err = strconv.Atoi(string(number))
	}
	if err != nil || index < 1 || index > 255 || strconv.Itoa(index) != string(number) {
		return 0, v, of, fmt.Errorf("%w: the index must be a number from 1 to 255", ErrFormat)
	}
	if len(digits) != 2*Size {
		return 0, v, of, fmt.Errorf("%w: %d hex digits, want %d", ErrFormat, len(digits), 2*Size)
	}
	if _, err := hex.Decode(v[:], digits); err != nil {
		clear(v[:])
		return 0, v, of, fmt.Errorf("%w: a character is not a hex digit (0-9, a-f)", ErrFormat)
	}
	if len(fields) == 3 {
		return index, v, of, nil
	}
	if of, err = origin(line); err != nil {
		clear(v[:])
		return 0, v, Origin{}, err
	}
	return index, v, of, nil
}

// origin reads the end of a line of the long form. Its ids become strings only once
// the check says that they are what they seem to be.
func origin(line []byte) (of Origin, err error) {
	small := make([]byte, len(line))
	defer clear(small)
	for i, c := range line {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		small[i] = c
	}
	end := bytes.LastIndexByte(small, ':')
	want := checkOf(small[:end])
	var given [checkSize]byte
	if len(small)-end-1 != hex.EncodedLen(checkSize) {
		return of, ErrCheck
	}
	if _, err := hex.Decode(given[:], small[end+1:]); err != nil || given != want {
		return of, ErrCheck
	}
	fields := bytes.Split(small, []byte(":"))
	cluster, key := fields[3], fields[4]
	if !isID(cluster) || !isID(key) {
		return of, fmt.Errorf("%w: its cluster or its key is not an id", ErrFormat)
	}
	return Origin{Cluster: string(cluster), KeyID: string(key)}, nil
}

// checkOf returns the check over a line up to it. So few bytes of a hash tell nothing
// about a value of 32, which stands beside them in any case.
func checkOf(line []byte) (check [checkSize]byte) {
	text := append(make([]byte, 0, 32+len(line)), "spike shard line v1\n"...)
	text = append(text, line...)
	defer clear(text)
	sum := sha256.Sum256(text)
	copy(check[:], sum[:])
	clear(sum[:])
	return check
}

// isID reports whether an id can stand in a line: what is written of one must be what
// is read.
func isID(id []byte) bool {
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxID
}
