package sqlite

import (
	"database/sql/driver"
	"fmt"
	"slices"

	lib "modernc.org/sqlite/lib"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

const (
	// applicationID stands in the database's header, at offset 68: "SPKE".
	applicationID = 0x53504b45
	// formatVersion stands there at offset 60. A change that a program of this
	// version could not read, or would write wrongly, needs a new number.
	formatVersion = 1
)

// Header and state have a table each, because every commit rewrites the state
// and hardly any the header. Their only row has the id 1.
const (
	createHeader = `CREATE TABLE "header" (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL) STRICT`
	createState  = `CREATE TABLE "state" (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT`
)

// createRows makes the table of rows. It is a rowid table, not WITHOUT ROWID:
// appending to one fills its pages in order instead of splitting them in the
// middle, and a row of up to 4,061 bytes stays in its page, where an index's
// page would push everything beyond some 1,000 to overflow pages. Measured, a
// batch of 64 rows of 300 bytes commits in three quarters of the time.
func createRows(table vault.Table) string {
	return `CREATE TABLE ` + quote(table) + ` (id INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT`
}

func quote(table vault.Table) string { return `"` + string(table) + `"` }

// schema returns the statements that make every table, by the table's name.
func schema() map[string]string {
	m := map[string]string{"header": createHeader, "state": createState}
	for _, table := range vault.Tables() {
		m[string(table)] = createRows(table)
	}
	return m
}

// createTables makes the tables named, in one transaction, and with the rest
// marks the file as this format's.
func (c *conn) createTables(names []string, rest ...string) error {
	create := schema()
	statements := make([]string, 0, len(names)+len(rest)+2)
	statements = append(statements, "BEGIN IMMEDIATE")
	for _, name := range names {
		statements = append(statements, create[name])
	}
	statements = append(statements, rest...)
	statements = append(statements, "COMMIT")
	for _, statement := range statements {
		if err := c.exec(statement); err != nil {
			// What the disk had no room for is tried again by the next commit.
			if rollback := c.exec("ROLLBACK"); rollback != nil && !isCode(rollback, lib.SQLITE_ERROR) {
				return fmt.Errorf("roll back: %w, after: %s", rollback, err.Error())
			}
			return fmt.Errorf("make the tables: %w", err)
		}
	}
	return nil
}

// checkMarks finds out whether the file is a store, and of a format known here.
// Both marks are read through SQLite, which also sees what a killed process left
// in the write-ahead log.
func (c *conn) checkMarks(path string) error {
	id, err := c.value("PRAGMA application_id")
	if err != nil {
		return err
	}
	version, err := c.value("PRAGMA user_version")
	if err != nil {
		return err
	}
	return knownFormat(path, id, version)
}

func knownFormat(path string, id, version driver.Value) error {
	if id != int64(applicationID) {
		return fmt.Errorf("%w: %s is a database of some other program; move it away, or name another folder",
			vault.ErrFormat, path)
	}
	switch v, ok := version.(int64); {
	case !ok || v < 1:
		return fmt.Errorf("%w: %s has the storage format %v, which there never was; restore a backup",
			vault.ErrFormat, path, version)
	case v > formatVersion:
		return fmt.Errorf("%w: %s has the storage format %d, and this program knows no newer one than %d; "+
			"start the version that wrote it, or a later one", vault.ErrFormat, path, v, formatVersion)
	}
	return nil
}

// checkSchema returns the row tables that are missing: those of an older
// program's file. Everything else in the file must be exactly what this package
// makes. A trigger or a view that somebody slipped in would otherwise run with
// the next commit.
func (c *conn) checkSchema(path string) (missing []string, err error) {
	expected := schema()
	err = c.query("SELECT type, name, sql FROM sqlite_schema", func(v []driver.Value) error {
		kind, name, sql := fmt.Sprint(v[0]), fmt.Sprint(v[1]), fmt.Sprint(v[2])
		create, known := expected[name]
		switch {
		case known && kind == "table" && sql == create:
			delete(expected, name)
			return nil
		case !known && kind == "table" && sql == createRows(vault.Table(name)):
			return fmt.Errorf("%w: %s has a table %q that this program does not know; "+
				"start the version that wrote it, or a later one", vault.ErrFormat, path, name)
		}
		return fmt.Errorf("%w: %s has a %s %q that SPIKE never made so; restore a backup",
			vault.ErrDamaged, path, kind, name)
	})
	if err != nil {
		return nil, err
	}
	for name := range expected {
		if name == "header" || name == "state" {
			return nil, fmt.Errorf("%w: %s has no table %q; restore a backup", vault.ErrDamaged, path, name)
		}
		missing = append(missing, name)
	}
	slices.Sort(missing)
	return missing, nil
}

// checkPages has SQLite look through the file's structure: a list of free pages
// that names one in use would have a later commit overwrite it.
func (c *conn) checkPages(path string) error {
	verdict, err := c.value("PRAGMA quick_check(1)")
	if err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s: %v; restore a backup", vault.ErrDamaged, path, verdict)
	}
	return nil
}

// checkBirth refuses rows or a header without a state: somebody took the state
// away, and what remains must not pass for a store that was never written to.
func (c *conn) checkBirth(path string, missing []string) error {
	query := `SELECT EXISTS (SELECT 1 FROM "header")`
	for _, table := range vault.Tables() {
		if slices.Contains(missing, string(table)) {
			continue
		}
		query += ` OR EXISTS (SELECT 1 FROM ` + quote(table) + `)`
	}
	found, err := c.value(query)
	if err != nil {
		return err
	}
	if found != int64(0) {
		return fmt.Errorf("%w: %s holds rows but no state; restore a backup", vault.ErrDamaged, path)
	}
	return nil
}
