package vault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// encodeValues returns the object as it is kept and served: what encoding/json
// makes of it, without escapes for HTML. Of plain ASCII it is made here, which is
// quicker.
func encodeValues(values api.Values) (secret.Bytes, error) {
	size := len("{}")
	for key, value := range values {
		if !plain(key) || !plain(value) {
			return encodeAny(values)
		}
		size += len(key) + len(value) + len(`"":"",`)
	}
	b := append(make([]byte, 0, size), '{')
	for i, key := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), key...), `":"`...)
		b = append(append(b, values[key]...), '"')
	}
	return secret.NewBytes(append(b, '}')), nil
}

// plain reports whether a JSON string has a text as it is.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func encodeAny(values api.Values) (secret.Bytes, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]string(values)); err != nil {
		return secret.Bytes{}, fmt.Errorf("encode values: %w", err)
	}
	return secret.NewBytes(bytes.Clone(bytes.TrimSuffix(b.Bytes(), []byte("\n")))), nil
}
