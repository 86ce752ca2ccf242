package vault

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/seal"
	"github.com/spiffe/spike/internal/keeper"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shard"
)

// The plaintext of rows. All numbers are big-endian and of fixed width, so that
// every record has one encoding; decoding refuses anything else.

const recordFormat = 1

var errRecord = errors.New("the record makes no sense")

// Flags of a version.
const (
	flagDeleted   = 1 << iota // it can be undeleted
	flagDestroyed             // its values are gone; the number stays taken
	flagsKnown    = flagDeleted | flagDestroyed
)

// versionRecord is one version of a secret. Times are Unix nanoseconds.
type versionRecord struct {
	path    string
	version uint32
	flags   uint8
	first   int64 // when the path's first version was written
	created int64
	changed int64 // created, or the latest change of the flags
	deleted int64 // 0 unless deleted
	values  []byte
}

const versionFixed = 2 + 4 + 4*8 + 2

func (r *versionRecord) encode() []byte {
	b := make([]byte, 0, versionFixed+len(r.path)+len(r.values))
	b = append(b, recordFormat, r.flags)
	b = binary.BigEndian.AppendUint32(b, r.version)
	for _, t := range [...]int64{r.first, r.created, r.changed, r.deleted} {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.path)))
	b = append(b, r.path...)
	return append(b, r.values...)
}

func decodeVersion(b []byte) (versionRecord, error) {
	var r versionRecord
	if len(b) < versionFixed || b[0] != recordFormat || b[1]&^flagsKnown != 0 {
		return r, errRecord
	}
	r.flags = b[1]
	r.version = binary.BigEndian.Uint32(b[2:])
	at := 6
	for _, t := range [...]*int64{&r.first, &r.created, &r.changed, &r.deleted} {
		*t = int64(binary.BigEndian.Uint64(b[at:]))
		at += 8
	}
	length := int(binary.BigEndian.Uint16(b[at:]))
	at += 2
	if length == 0 || len(b)-at < length || r.version == 0 {
		return versionRecord{}, errRecord
	}
	r.path = string(b[at : at+length])
	// The copy lets go of the rest of the row's buffer.
	r.values = append([]byte(nil), b[at+length:]...)
	return r, nil
}

// shareRecord is one share of the root key.
type shareRecord struct {
	set   string
	index int
	value secret.Key
}

const shareSize = 3 + shard.Size

func setNumber(set string) byte {
	if set == keeper.SetPaper {
		return 2
	}
	return 1
}

// encode returns the record; the caller wipes it.
func (r *shareRecord) encode() ([]byte, error) {
	b := make([]byte, 0, shareSize)
	b = append(b, recordFormat, setNumber(r.set), byte(r.index))
	err := r.value.Expose(func(v []byte) error {
		if len(v) != shard.Size {
			return errRecord
		}
		b = append(b, v...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("encode share: %w", err)
	}
	return b, nil
}

// decodeShare wipes b.
func decodeShare(b []byte) (shareRecord, error) {
	defer clear(b)
	if len(b) != shareSize || b[0] != recordFormat || b[2] == 0 {
		return shareRecord{}, errRecord
	}
	r := shareRecord{index: int(b[2])}
	switch b[1] {
	case 1:
		r.set = keeper.SetKeeper
	case 2:
		r.set = keeper.SetPaper
	default:
		return shareRecord{}, errRecord
	}
	value, err := secret.NewKey(b[3:])
	r.value = value
	return r, err
}

// policyRecord is one policy. Times are Unix nanoseconds.
type policyRecord struct {
	permissions uint8
	created     int64
	updated     int64
	texts       [3]string // name, SPIFFE ID pattern, path pattern
}

const policyFixed = 2 + 2*8

func (r *policyRecord) encode() []byte {
	b := append(make([]byte, 0, 256), recordFormat, r.permissions)
	b = binary.BigEndian.AppendUint64(b, uint64(r.created))
	b = binary.BigEndian.AppendUint64(b, uint64(r.updated))
	for _, text := range r.texts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
		b = append(b, text...)
	}
	return b
}

func decodePolicy(b []byte) (policyRecord, error) {
	var r policyRecord
	if len(b) < policyFixed || b[0] != recordFormat {
		return r, errRecord
	}
	r.permissions = b[1]
	r.created = int64(binary.BigEndian.Uint64(b[2:]))
	r.updated = int64(binary.BigEndian.Uint64(b[10:]))
	b = b[policyFixed:]
	for i := range r.texts {
		if len(b) < 2 {
			return policyRecord{}, errRecord
		}
		length := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < length {
			return policyRecord{}, errRecord
		}
		r.texts[i], b = string(b[:length]), b[length:]
	}
	if len(b) != 0 {
		return policyRecord{}, errRecord
	}
	return r, nil
}

// cipherRecord is one key of the cipher service. It outlives the root key, or
// clients could not read what they had encrypted.
type cipherRecord struct {
	created  int64
	reserved uint64 // it may have encrypted up to so many messages
	key      secret.Key
}

const cipherSize = 1 + 2*8 + cipherKeySize

// encode returns the record; the caller wipes it.
func (r *cipherRecord) encode() ([]byte, error) {
	b := append(make([]byte, 0, cipherSize), recordFormat)
	b = binary.BigEndian.AppendUint64(b, uint64(r.created))
	b = binary.BigEndian.AppendUint64(b, r.reserved)
	err := r.key.Expose(func(key []byte) error {
		b = append(b, key...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("encode cipher key: %w", err)
	}
	return b, nil
}

// decodeCipher wipes b.
func decodeCipher(b []byte) (cipherRecord, error) {
	defer clear(b)
	if len(b) != cipherSize || b[0] != recordFormat {
		return cipherRecord{}, errRecord
	}
	r := cipherRecord{created: int64(binary.BigEndian.Uint64(b[1:])), reserved: binary.BigEndian.Uint64(b[9:])}
	key, err := secret.NewKey(b[17:])
	r.key = key
	return r, err
}

// stateRecord vouches for the whole store at one sequence number.
type stateRecord struct {
	epoch    uint64 // opened anew when an older store is accepted
	sequence uint64
	rows     uint64 // in all tables
	header   [sha256.Size]byte
	digest   seal.Digest
}

const stateSize = 1 + 3*8 + 2*sha256.Size

func statePlace() seal.Place { return seal.Place{Table: "state", ID: 1} }

func (r *stateRecord) encode() []byte {
	b := make([]byte, 0, stateSize)
	b = append(b, recordFormat)
	b = binary.BigEndian.AppendUint64(b, r.epoch)
	b = binary.BigEndian.AppendUint64(b, r.sequence)
	b = binary.BigEndian.AppendUint64(b, r.rows)
	b = append(b, r.header[:]...)
	return append(b, r.digest[:]...)
}

func decodeState(b []byte) (stateRecord, error) {
	var r stateRecord
	if len(b) != stateSize || b[0] != recordFormat {
		return r, errRecord
	}
	r.epoch = binary.BigEndian.Uint64(b[1:])
	r.sequence = binary.BigEndian.Uint64(b[9:])
	r.rows = binary.BigEndian.Uint64(b[17:])
	copy(r.header[:], b[25:])
	copy(r.digest[:], b[25+sha256.Size:])
	return r, nil
}
