package api

import "bytes"

// The requests that clients send most come in one form: as Go's encoder, and many
// another, writes them, in plain ASCII. That form is read here, several times
// faster than any JSON is. A test holds it against encoding/json, which reads all
// else.

// DecodeUsual reads a get in its usual form. It reports false, and leaves the
// request as it is, for any other, right or wrong.
func (r *SecretGetRequest) DecodeUsual(body []byte) bool {
	rest, ok := bytes.CutPrefix(body, []byte(`{"path":`))
	if !ok {
		return false
	}
	path, rest, ok := usualString(rest)
	if !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"version":`)); !ok {
		return false
	}
	version, rest, ok := usualNumber(rest)
	if !ok || string(rest) != "}" {
		return false
	}
	r.Path, r.Version = string(path), version
	return true
}

// DecodeUsual reads a put in its usual form, as that of a get is read.
func (r *SecretPutRequest) DecodeUsual(body []byte) bool {
	rest, ok := bytes.CutPrefix(body, []byte(`{"path":`))
	if !ok {
		return false
	}
	path, rest, ok := usualString(rest)
	if !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"values":{`)); !ok {
		return false
	}
	values := Values{}
	for {
		var key, value []byte
		if key, rest, ok = usualString(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		if value, rest, ok = usualString(rest[1:]); !ok || len(rest) == 0 {
			return false
		}
		values[string(key)] = string(value)
		if rest[0] != ',' {
			break
		}
		rest = rest[1:]
	}
	if string(rest) != "}}" {
		return false
	}
	r.Path, r.Values = string(path), values
	return true
}

// usualString reads a JSON string of plain ASCII without escapes.
func usualString(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[1:i], b[i+1:], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// usualNumber reads an integer of at most nine digits.
func usualNumber(b []byte) (n int, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 9 && '0' <= b[i] && b[i] <= '9'; i++ {
		n = 10*n + int(b[i]-'0')
	}
	return n, b[i:], i == 1 || i > 1 && b[0] != '0'
}
