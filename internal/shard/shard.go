// Package shard has a Shamir share's form on the wire and on paper.
package shard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/spiffe/spike/internal/secret"
)

// Size is the length of a share's value in bytes: a P-256 scalar.
const Size = 32

// ErrFormat is returned for anything that is not a share in one of its forms.
// It never repeats the input, which may hold most of a share.
var ErrFormat = errors.New("not a shard")

// Value is a share's value. It prints as a placeholder; in JSON it is an array
// of exactly 32 numbers from 0 to 255.
type Value [Size]byte

// String returns a placeholder.
func (Value) String() string { return secret.Placeholder }

// GoString returns a placeholder.
func (Value) GoString() string { return secret.Placeholder }

// Format writes a placeholder, whatever the verb.
func (Value) Format(f fmt.State, _ rune) {
	// A formatter has nowhere to report a failed write.
	_, _ = io.WriteString(f, secret.Placeholder)
}

// LogValue returns a placeholder.
func (Value) LogValue() slog.Value { return slog.StringValue(secret.Placeholder) }

// MarshalJSON writes the value: this type's one purpose is the wire.
func (v Value) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 4*Size+2)
	out = append(out, '[')
	for i, b := range v {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(b), 10)
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads exactly 32 numbers. The standard library would pad a
// short array with zeros, cut a long one, and leave copies behind.
func (v *Value) UnmarshalJSON(in []byte) error {
	wrong := fmt.Errorf("%w: want an array of %d numbers from 0 to 255", ErrFormat, Size)
	in, ok := bytes.CutPrefix(bytes.TrimSpace(in), []byte("["))
	if !ok {
		return wrong
	}
	in, ok = bytes.CutSuffix(in, []byte("]"))
	if !ok || bytes.Count(in, []byte(",")) != Size-1 {
		return wrong
	}
	i := 0
	for field := range bytes.SplitSeq(in, []byte(",")) {
		// JSON has no leading zeros and no sign before a number; this form has
		// neither fractions nor exponents.
		digits := bytes.TrimSpace(field)
		n := 0
		for _, c := range digits {
			if c < '0' || c > '9' || len(digits) > 3 {
				return wrong
			}
			n = 10*n + int(c-'0')
		}
		if len(digits) == 0 || n > 255 || len(digits) > 1 && digits[0] == '0' {
			return wrong
		}
		v[i] = byte(n)
		i++
	}
	return nil
}
