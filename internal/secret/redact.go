package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Placeholder is what is shown in the place of a secret.
const Placeholder = "[redacted]"

// Bytes is a secret value in ordinary memory, such as the content of a secret
// that is served again and again. It is a handle that keeps the content behind
// a pointer, since fmt prints a slice in an unexported field as it is.
type Bytes struct {
	content *[]byte
}

// NewBytes takes content over: the caller must not change it afterwards.
func NewBytes(content []byte) Bytes { return Bytes{&content} }

// Expose returns the content, which the caller must not change, print or log.
func (b Bytes) Expose() []byte {
	if b.content == nil {
		return nil
	}
	return *b.content
}

// Len returns the content's length in bytes.
func (b Bytes) Len() int { return len(b.Expose()) }

// String returns the placeholder.
func (Bytes) String() string { return Placeholder }

// GoString returns the placeholder.
func (Bytes) GoString() string { return Placeholder }

// Format writes the placeholder, whatever the verb.
func (Bytes) Format(f fmt.State, _ rune) { redact(f) }

// LogValue returns the placeholder.
func (Bytes) LogValue() slog.Value { return slog.StringValue(Placeholder) }

// MarshalJSON returns the placeholder as a JSON string.
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + Placeholder + `"`), nil }

// MarshalText returns the placeholder.
func (Bytes) MarshalText() ([]byte, error) { return []byte(Placeholder), nil }

// String returns the placeholder.
func (Key) String() string { return Placeholder }

// GoString returns the placeholder.
func (Key) GoString() string { return Placeholder }

// Format writes the placeholder, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { redact(f) }

// LogValue returns the placeholder.
func (Key) LogValue() slog.Value { return slog.StringValue(Placeholder) }

// MarshalJSON returns the placeholder as a JSON string.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + Placeholder + `"`), nil }

// MarshalText returns the placeholder.
func (Key) MarshalText() ([]byte, error) { return []byte(Placeholder), nil }

func redact(w io.Writer) {
	// A formatter has nowhere to report a failed write; fmt ignores it as well.
	_, _ = io.WriteString(w, Placeholder)
}
