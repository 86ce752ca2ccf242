package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/spike/app/nexus/internal/seal"
)

// What a Store returns beyond errors of its own. A store wraps them.
var (
	// ErrConflict: the store is not at the sequence that a batch builds on.
	ErrConflict = errors.New("the store is at another sequence number")
	// ErrFull: there is no room. The batch was refused as a whole, and a later
	// one may succeed.
	ErrFull = errors.New("no room left for the store")
	// ErrFormat: the file is not a store, or one of a format that this program
	// does not know.
	ErrFormat = errors.New("not a store of a known format")
	// ErrDamaged: what the store holds cannot have been written by SPIKE.
	ErrDamaged = errors.New("the store is damaged")
	// ErrUnknown: what the store holds is not known until it is opened anew.
	ErrUnknown = errors.New("the state of the store is unknown")
)

// damaged says what was found, and what to do about it.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w; put a backup in its place", ErrDamaged, fmt.Errorf(format, args...))
}

// Table says what a row is. The names are part of the storage format: a row is
// bound to its table's.
type Table string

// The tables.
const (
	TableSecret Table = "secret" // one row for each version of a secret
	TableShare  Table = "share"  // one row for each share of the root key
	TablePolicy Table = "policy" // one row for each policy
	TableCipher Table = "cipher" // one row for each key of the cipher service
)

// Tables returns every table that a store keeps rows in.
func Tables() []Table { return []Table{TableSecret, TableShare, TablePolicy, TableCipher} }

// Row is a sealed row. IDs are from 1 to 2^63-1 and say nothing about content.
type Row struct {
	Table  Table
	ID     uint64
	Sealed seal.Sealed
}

// Place is where the row stands, for sealing it.
func (r Row) Place() seal.Place { return seal.Place{Table: string(r.Table), ID: r.ID} }

// RowKey names a row.
type RowKey struct {
	Table Table
	ID    uint64
}

// State is what every commit replaces: the sequence number of the last one, and
// a sealed row that vouches for everything else in the store.
type State struct {
	Sequence uint64
	Sealed   seal.Sealed
}

// Batch takes a store from sequence number Prev to Prev+1.
type Batch struct {
	Prev uint64
	// Header replaces the header unless it is nil.
	Header []byte
	// State is the sealed state row of Prev+1.
	State seal.Sealed
	// Put inserts rows or replaces those with the same table and id. Of two for
	// one row, the last counts.
	Put []Row
	// Delete removes rows, after the puts; one that is not there is an error
	// ([ErrDamaged]).
	Delete []RowKey
}

// Store keeps a header, a state and rows. One suite of tests
// (store/storetest) holds every implementation to this contract.
//
// A Store has one owner and is not safe for concurrent use, Close excepted.
type Store interface {
	// Load returns the header and the state, and first calls row, unless it is
	// nil, for every row, table by table in the order of their ids. The row's
	// bytes are the callee's to keep. An error of row's ends Load and is
	// returned. A store that was never written to has a nil header and
	// sequence 0. Load changes nothing.
	Load(ctx context.Context, row func(Row) error) (header []byte, state State, err error)

	// Commit applies a batch: all of it, on stable storage before it returns
	// nil, or none of it. It returns ErrConflict unless the store is at
	// Batch.Prev, ErrFull when there is no room, and the context's error when that
	// ended before the commit began: the store is then what it was, and goes on.
	// After any other error (an empty header, an empty row and a missing state
	// are errors too), whether the batch is there is unknown until the store is
	// opened anew, and every later Commit fails.
	Commit(ctx context.Context, b Batch) error

	// Close releases the store. One that nothing was committed to is then as it was
	// before it was opened. Closing twice is harmless.
	Close() error
}
