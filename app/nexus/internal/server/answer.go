package server

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
)

// The answers that are asked for most, and the longest ones, encode themselves: a
// test compares them with what encoding/json makes of the wire types.

// secretAnswer is api.SecretGetResponse with the values as the vault keeps them.
type secretAnswer struct {
	data secret.Bytes
	code api.Code
}

// SetErr implements answer.
func (a *secretAnswer) SetErr(code api.Code) { a.code = code }

const before, after = `{"data":`, `}`

// size is how many bytes writeTo writes.
func (a *secretAnswer) size() int {
	return len(before) + a.data.Len() + len(after) // of an error, it is enough to say that it is little
}

// writeTo writes what api.SecretGetResponse would be.
func (a *secretAnswer) writeTo(w io.Writer) error {
	if a.code != "" {
		_, err := io.WriteString(w, `{"data":null,"err":"`+string(a.code)+`"}`)
		return err
	}
	_, err1 := io.WriteString(w, before)
	_, err2 := w.Write(a.data.Expose())
	_, err3 := io.WriteString(w, after)
	return errors.Join(err1, err2, err3)
}

// listAnswer is api.SecretListResponse.
type listAnswer struct {
	keys []string
	code api.Code
}

// SetErr implements answer.
func (a *listAnswer) SetErr(code api.Code) { a.code = code }

// encode returns what api.SecretListResponse would be.
func (a *listAnswer) encode() []byte {
	if a.code != "" {
		return []byte(`{"keys":null,"err":"` + string(a.code) + `"}`)
	}
	size := len(`{"keys":[]}`)
	for _, key := range a.keys {
		size += len(key) + len(`"",`)
	}
	b := append(make([]byte, 0, size), `{"keys":[`...)
	for i, key := range a.keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendPath(b, key)
	}
	return append(b, "]}"...)
}

// appendPath appends a JSON string. All that a path can have and a string cannot
// have as it is, is the backslash.
func appendPath(b []byte, path string) []byte {
	if strings.IndexByte(path, '\\') >= 0 {
		quoted, err := json.Marshal(path)
		if err != nil {
			panic(err) // a string can always be encoded
		}
		return append(b, quoted...)
	}
	return append(append(append(b, '"'), path...), '"')
}
