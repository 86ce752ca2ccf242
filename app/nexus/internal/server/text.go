package server

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"unicode/utf16"
)

// paired reports whether every \uD800 to \uDFFF escape in a JSON text is one half
// of a pair. The decoder puts a replacement character in the place of a lone one,
// which would change a secret without a word.
func paired(body []byte) bool {
	for {
		at := bytes.IndexByte(body, '\\')
		if at < 0 || at+1 >= len(body) {
			return true
		}
		unit, ok := escape(body[at:])
		if !ok {
			body = body[at+2:]
			continue
		}
		body = body[at+6:]
		if !utf16.IsSurrogate(rune(unit)) {
			continue
		}
		low, ok := escape(body)
		if !ok || utf16.DecodeRune(rune(unit), rune(low)) == '�' {
			return false
		}
		body = body[6:]
	}
}

// escape reads a \uXXXX at the beginning of b.
func escape(b []byte) (unit uint16, ok bool) {
	var raw [2]byte
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	if _, err := hex.Decode(raw[:], b[2:6]); err != nil {
		return 0, false
	}
	return binary.BigEndian.Uint16(raw[:]), true
}
