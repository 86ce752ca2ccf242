package format

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Field is a field of a record.
type Field struct {
	Name string
	// Bytes is how many: a number, Counted or Rest.
	Bytes int
}

// How many bytes a field has that is not always of one length.
const (
	Counted = -1 // as many as the field before says
	Rest    = -2 // all that is left
)

// Layout returns the fields of a table's records, in order. The tests compare them
// with the page's tables.
func Layout(table string) []Field {
	switch table {
	case "secret":
		return []Field{
			{"format", 1}, {"flags", 1}, {"version", 4}, {"first", 8}, {"created", 8}, {"changed", 8}, {"deleted", 8},
			{"path length", 2}, {"path", Counted}, {"values", Rest},
		}
	case "share":
		return []Field{{"format", 1}, {"set", 1}, {"index", 1}, {"value", 32}}
	case "policy":
		return []Field{
			{"format", 1}, {"permissions", 1}, {"created", 8}, {"updated", 8},
			{"name length", 2}, {"name", Counted},
			{"SPIFFE ID pattern length", 2}, {"SPIFFE ID pattern", Counted},
			{"path pattern length", 2}, {"path pattern", Counted},
		}
	case "cipher":
		return []Field{{"format", 1}, {"created", 8}, {"messages", 8}, {"key", 32}}
	case "state":
		return []Field{{"format", 1}, {"epoch", 8}, {"sequence", 8}, {"rows", 8}, {"header", 32}, {"digest", 32}}
	}
	return nil
}

// Record is what is in a row.
type Record struct {
	Table     string
	ID        uint64
	Plaintext []byte
	fields    map[string][]byte
}

// Bytes returns a field as it stands there.
func (r *Record) Bytes(name string) []byte { return r.fields[name] }

// Text returns a field as text.
func (r *Record) Text(name string) string { return string(r.fields[name]) }

// Number returns a field as a number; of a time, its nanoseconds since 1970.
func (r *Record) Number(name string) uint64 { return asNumber(r.fields[name]) }

func asNumber(b []byte) uint64 {
	var wide [8]byte
	copy(wide[8-len(b):], b)
	return binary.BigEndian.Uint64(wide[:])
}

// decode reads a record, and refuses one that has another form: each record has one
// encoding, and nothing follows it.
func decode(table string, plaintext []byte) (Record, error) {
	r := Record{Table: table, Plaintext: plaintext, fields: map[string][]byte{}}
	rest, counted := plaintext, 0
	for _, f := range Layout(table) {
		size := f.Bytes
		switch size {
		case Counted:
			size = counted
		case Rest:
			size = len(rest)
		}
		if len(rest) < size {
			return r, fmt.Errorf("it ends within the field %q", f.Name)
		}
		r.fields[f.Name], rest = rest[:size], rest[size:]
		if size <= 8 { // the count of a field that comes next, if one does
			counted = int(asNumber(r.fields[f.Name]))
		}
	}
	if len(rest) > 0 {
		return r, fmt.Errorf("it has %d bytes too many", len(rest))
	}
	return r, r.check()
}

// check refuses values that a field cannot have. What they mean together, such as a
// time of deletion without the flag, is the tests' to compare.
func (r *Record) check() error {
	switch {
	case r.Number("format") != 1:
		return errors.New("it has another format")
	case r.Table == "secret" && (r.Number("flags")&^3 != 0 || r.Number("version") == 0 || len(r.Bytes("path")) == 0):
		return errors.New("its flags, version or path cannot be")
	case r.Table == "share" && (r.Number("set") < 1 || r.Number("set") > 2 || r.Number("index") == 0):
		return errors.New("its set or index cannot be")
	case r.Table == "policy" && (r.Number("permissions") == 0 || r.Number("permissions") > 31):
		return errors.New("its permissions cannot be")
	}
	return nil
}
