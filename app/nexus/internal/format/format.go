// Package format reads a store from its description in docs/storage.md alone: it
// imports no other package of SPIKE, and nothing but the standard library. Its
// tests hold three things to each other, the page, this reader, and what Nexus
// writes, and so keep the page one that a reader can be written from.
//
// No program links it. It keeps keys in ordinary memory.
package format

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// What the database's own header says.
const (
	applicationID = 0x53504b45 // "SPKE"
	version       = 1
)

// tables are those that have rows.
var tables = [...]string{"secret", "share", "policy", "cipher"}

// File is what a database holds, unopened. It can be looked at without any key.
type File struct {
	Header   []byte
	Sequence uint64
	State    Row
	Rows     []Row // of all tables, by id within each
}

// Row is a sealed row: nonce (24 bytes), ciphertext, tag (16).
type Row struct {
	Table  string
	ID     uint64
	Sealed []byte
}

// Load reads a database. It opens nothing.
func Load(ctx context.Context, db *sql.DB) (*File, error) {
	for pragma, want := range map[string]int64{"application_id": applicationID, "user_version": version} {
		var got int64
		if err := db.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil {
			return nil, fmt.Errorf("read %s: %w", pragma, err)
		}
		if got != want {
			return nil, fmt.Errorf("%s is %d, not %d", pragma, got, want)
		}
	}
	// What is in the file is asked for before anything is read from it: a view could
	// pass for a table.
	there, err := schema(ctx, db)
	if err != nil {
		return nil, err
	}
	f := &File{State: Row{Table: "state", ID: 1}}
	err = db.QueryRowContext(ctx, `SELECT content FROM "header" WHERE id = 1`).Scan(&f.Header)
	if err == nil {
		err = db.QueryRowContext(ctx, `SELECT sequence, sealed FROM "state" WHERE id = 1`).Scan(&f.Sequence, &f.State.Sealed)
	}
	for _, table := range tables {
		if err == nil && slices.Contains(there, table) {
			err = f.rows(ctx, db, table)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the tables: %w", err)
	}
	return f, nil
}

// schema returns the names of what is in the database, and refuses what no release
// of this format has made.
func schema(ctx context.Context, db *sql.DB) (names []string, err error) {
	found, err := db.QueryContext(ctx, `SELECT type, name FROM sqlite_schema`)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	defer func() { err = errors.Join(err, found.Err(), found.Close()) }()
	for found.Next() {
		var kind, name string
		if err := found.Scan(&kind, &name); err != nil {
			return nil, fmt.Errorf("read the schema: %w", err)
		}
		if kind != "table" || name != "header" && name != "state" && !slices.Contains(tables[:], name) {
			return nil, fmt.Errorf("there is a %s %q", kind, name)
		}
		names = append(names, name)
	}
	return names, nil
}

// rows reads one table. The order is for whoever compares two readers: the digest
// has none.
func (f *File) rows(ctx context.Context, db *sql.DB, table string) (err error) {
	//nolint:gosec // the table is one of tables
	found, err := db.QueryContext(ctx, `SELECT id, sealed FROM "`+table+`" ORDER BY id`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, found.Err(), found.Close()) }()
	for found.Next() {
		r := Row{Table: table}
		if err := found.Scan(&r.ID, &r.Sealed); err != nil {
			return err
		}
		f.Rows = append(f.Rows, r)
	}
	return nil
}

// Store is a file that was opened, and found to be in order.
type Store struct {
	Header  *Header
	Keys    *Keys
	Records []Record // of the file's rows, in their order
	State   Record
}

// Open opens a file with shares of one set, by index, as many as the threshold
// or more. It checks what the page says that a reader checks, in its order.
func (f *File) Open(set string, shares map[int][]byte) (*Store, error) {
	header, err := ParseHeader(f.Header)
	if err != nil {
		return nil, err
	}
	// Before they are combined: a share that is wrong makes a wrong key, and the
	// arithmetic does not tell.
	for index, value := range shares {
		if !header.Fits(set, index, value) {
			return nil, fmt.Errorf("%s share %d is not this store's", set, index)
		}
	}
	if len(shares) < header.Threshold {
		return nil, fmt.Errorf("%d shares, and it takes %d", len(shares), header.Threshold)
	}
	scalar, err := Combine(shares)
	if err != nil {
		return nil, err
	}
	keys, err := header.Derive(scalar)
	if err != nil {
		return nil, err
	}
	s := &Store{Header: header, Keys: keys}
	return s, s.read(f)
}

// read opens the rows, and compares what they are with what the state says.
func (s *Store) read(f *File) (err error) {
	var digest [sha256.Size]byte
	for _, row := range f.Rows {
		tag := s.Keys.Tag(row)
		for i := range digest {
			digest[i] ^= tag[i]
		}
		record, err := s.Keys.record(row)
		if err != nil {
			return err
		}
		s.Records = append(s.Records, record)
	}
	if s.State, err = s.Keys.record(f.State); err != nil {
		return err
	}
	header := sha256.Sum256(f.Header) // of the bytes, whatever order its fields are in
	switch {
	case s.State.Number("sequence") != f.Sequence:
		return errors.New("the state is another commit's")
	case s.State.Number("rows") != uint64(len(f.Rows)):
		return fmt.Errorf("%d rows, and the state says %d", len(f.Rows), s.State.Number("rows"))
	case !slices.Equal(s.State.Bytes("header"), header[:]):
		return errors.New("the header is not the state's")
	case !slices.Equal(s.State.Bytes("digest"), digest[:]):
		return errors.New("the digest is not the state's")
	}
	return s.once()
}

// once refuses two records of what there is one of.
func (s *Store) once() error {
	seen := map[string]bool{}
	for _, r := range s.Records {
		var what string
		switch r.Table {
		case "secret":
			what = fmt.Sprintf("version %d of %q", r.Number("version"), r.Text("path"))
		case "policy":
			what = fmt.Sprintf("policy %q", r.Text("name"))
		default:
			continue
		}
		if seen[what] {
			return fmt.Errorf("%s is there twice", what)
		}
		seen[what] = true
	}
	return nil
}

// record opens a row and reads what is in it. An error names the row: which one it
// is, is what a person can do something with.
func (k *Keys) record(row Row) (Record, error) {
	plaintext, err := k.Open(row)
	if err != nil {
		return Record{}, fmt.Errorf("%s row %d: %w", row.Table, row.ID, err)
	}
	r, err := decode(row.Table, plaintext)
	if err != nil {
		return Record{}, fmt.Errorf("%s row %d: %w", row.Table, row.ID, err)
	}
	r.ID = row.ID
	return r, nil
}

// unbase64 reads base64 as the header has it: the standard alphabet, padded.
func unbase64(text string) ([]byte, error) { return base64.StdEncoding.Strict().DecodeString(text) }
