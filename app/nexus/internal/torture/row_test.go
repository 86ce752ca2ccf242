package torture

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
)

// row is one of a table's.
type row struct {
	table string
	id    int64
}

// altered returns a copy of a store whose rows somebody changed with SQL.
func altered(t *testing.T, folder string, alter func(*sql.DB)) string {
	t.Helper()
	to := copied(t, folder)
	db, err := sql.Open("sqlite", filepath.Join(to, database))
	must(t, err)
	alter(db)
	must(t, db.Close())
	return to
}

func run(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	result, err := db.ExecContext(t.Context(), query, args...)
	must(t, err)
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%s changed %d rows, %v", query, n, err)
	}
}

func sealed(t *testing.T, db *sql.DB, r row) []byte {
	t.Helper()
	var b []byte
	must(t, db.QueryRowContext(t.Context(), fmt.Sprintf("SELECT sealed FROM %q WHERE id = ?", r.table), r.id).Scan(&b))
	return b
}

func set(t *testing.T, db *sql.DB, r row, b []byte) {
	t.Helper()
	run(t, db, fmt.Sprintf("UPDATE %q SET sealed = ? WHERE id = ?", r.table), b, r.id)
}

func rows(t *testing.T, folder string) []row {
	t.Helper()
	var list []row
	altered(t, folder, func(db *sql.DB) {
		for _, table := range vault.Tables() {
			list = append(list, rowsOf(t, db, string(table))...)
		}
	})
	return list
}

func rowsOf(t *testing.T, db *sql.DB, table string) (list []row) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), fmt.Sprintf("SELECT id FROM %q", table))
	must(t, err)
	defer func() { must(t, found.Close()) }()
	for found.Next() {
		r := row{table: table}
		must(t, found.Scan(&r.id))
		list = append(list, r)
	}
	must(t, found.Err())
	return list
}

// TestRows edits, swaps, moves, copies, deletes and replays rows by SQL. Each is
// refused with a sentence that says what was found and of how many rows: where a
// row does not open in its place, which.
func TestRows(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	folder := filepath.Join(t.TempDir(), "store")
	c.fill(t, folder)
	older := copied(t, folder)
	v := c.mustOpen(t, folder)
	put(t, v, "later", "x")
	must(t, v.Close())
	all := rows(t, folder)
	count := len(all)
	pick := func() row { return all[r.IntN(count)] }

	check := func(name, want string, alter func(*sql.DB)) {
		t.Helper()
		v, err := c.open(t.Context(), altered(t, folder, alter))
		if err == nil {
			t.Errorf("%s: it was served", name)
			must(t, v.Close())
		} else if refusal := refused(err); refusal != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q (%v)", name, err, want, refusal)
		}
	}
	for range max(10, *edits/10) {
		one, other := pick(), pick()
		for other == one {
			other = pick()
		}
		named := fmt.Sprintf("%s %d", one.table, one.id)
		check("edit "+named, fmt.Sprintf("1 of %d rows does not authenticate or was moved (%s)", count, named), func(db *sql.DB) {
			b := sealed(t, db, one)
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			set(t, db, one, b)
		})
		check("cut "+named, fmt.Sprintf("1 of %d rows does not authenticate or was moved (%s)", count, named), func(db *sql.DB) {
			b := sealed(t, db, one)
			set(t, db, one, b[:1+r.IntN(len(b)-1)])
		})
		check(fmt.Sprintf("swap %v %v", one, other), fmt.Sprintf("2 of %d rows do not authenticate or were moved", count), func(db *sql.DB) {
			a, b := sealed(t, db, one), sealed(t, db, other)
			set(t, db, one, b)
			set(t, db, other, a)
		})
		check("delete "+named, fmt.Sprintf("1 of %d rows is missing", count), func(db *sql.DB) {
			run(t, db, fmt.Sprintf("DELETE FROM %q WHERE id = ?", one.table), one.id)
		})
		check("move "+named, fmt.Sprintf("1 of %d rows does not authenticate or was moved", count), func(db *sql.DB) {
			run(t, db, fmt.Sprintf("UPDATE %q SET id = ? WHERE id = ?", one.table), 1_000_000+r.Int64N(1e9), one.id)
		})
		check("copy "+named, fmt.Sprintf("1 of %d rows does not authenticate or was moved", count+1), func(db *sql.DB) {
			run(t, db, fmt.Sprintf("INSERT INTO %q VALUES (?, ?)", one.table), 1_000_000+r.Int64N(1e9), sealed(t, db, one))
		})
	}
	check("edited header", "the header", func(db *sql.DB) {
		run(t, db, `UPDATE "header" SET content = CAST(replace(CAST(content AS TEXT), 'https://k1', 'https://x1') AS BLOB)`)
	})
	check("state of an earlier time", "not belong to it", func(db *sql.DB) { replay(t, db, older, "state") })
	check("no state", "no state", func(db *sql.DB) { run(t, db, `DELETE FROM "state"`) })
	check("later sequence", "its state row is of commit", func(db *sql.DB) { run(t, db, `UPDATE "state" SET sequence = sequence + 1`) })
}

// TestEditedHeader edits the header, which is in plain: its text, what its text
// means, and that it is there.
func TestEditedHeader(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	folder := filepath.Join(t.TempDir(), "store")
	c.fill(t, folder)
	edits := max(20, *edits/5)
	for n := range edits {
		how := "removed"
		_, err := c.open(t.Context(), altered(t, folder, func(db *sql.DB) {
			if n == 0 {
				run(t, db, `DELETE FROM "header"`)
				return
			}
			var b []byte
			must(t, db.QueryRowContext(t.Context(), `SELECT content FROM "header"`).Scan(&b))
			at := r.IntN(len(b))
			how = fmt.Sprintf("%q at %d", b[at], at)
			for old := b[at]; b[at] == old; {
				b[at] = byte(' ' + r.IntN('~'-' ')) // most often still text, and often still JSON
			}
			run(t, db, `UPDATE "header" SET content = ?`, b)
		}))
		if err == nil {
			t.Errorf("the header with %s edited: it was served", how)
		} else if err := refused(err); err != nil {
			t.Errorf("the header with %s edited: %v", how, err)
		}
	}
}

// replay puts the only row of a table back to what it was.
func replay(t *testing.T, db *sql.DB, older, table string) {
	t.Helper()
	connection, err := db.Conn(t.Context())
	must(t, err)
	for _, query := range []string{
		fmt.Sprintf("ATTACH '%s' AS older", filepath.Join(older, database)),
		fmt.Sprintf("INSERT OR REPLACE INTO main.%q SELECT * FROM older.%q", table, table),
		"DETACH older",
	} {
		_, err := connection.ExecContext(t.Context(), query)
		must(t, err)
	}
	must(t, connection.Close())
}

// TestReplayedRows puts single rows back to what they were. They open in their
// places; only the digest over all rows knows better.
func TestReplayedRows(t *testing.T) {
	c := newCluster(t)
	folder := filepath.Join(t.TempDir(), "store")
	c.fill(t, folder)
	older := copied(t, folder)
	v := c.mustOpen(t, folder)
	// The rows stay, and change: versions are deleted, and a policy is replaced.
	for n := range 10 {
		path := fmt.Sprintf("team-%d/secret-%d", n%4, n)
		must(t, v.DeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: path}))
	}
	must(t, v.PutPolicy(t.Context(), admin, &api.PolicyPutRequest{
		Name: "policy 1", SPIFFEIDPattern: "^spiffe://spike.ist/other$", PathPattern: "^.*$", Permissions: []string{"super"},
	}))
	must(t, v.Close())

	replayed := 0
	for _, one := range rows(t, folder) {
		changed := false
		to := altered(t, folder, func(db *sql.DB) {
			before := sealed(t, db, one)
			old, err := sql.Open("sqlite", filepath.Join(older, database))
			must(t, err)
			b := sealed(t, old, one)
			must(t, old.Close())
			if changed = string(b) != string(before); changed {
				set(t, db, one, b)
			}
		})
		if !changed {
			must(t, os.RemoveAll(to))
			continue
		}
		replayed++
		_, err := c.open(t.Context(), to)
		if err == nil || !strings.Contains(err.Error(), "replaced by older copies") {
			t.Errorf("%v put back to what it was: %v", one, err)
		}
	}
	if replayed < 5 {
		t.Errorf("only %d rows changed in place", replayed)
	}
}

// TestNoAssociatedDataIsNoticed has rows sealed without their places, and wants
// TestRows to fail: the digest still refuses them, but nothing could say which.
func TestNoAssociatedDataIsNoticed(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "failpoint", "-count=1", "-run", "^TestRows$", ".")
	cmd.Env = append(os.Environ(), "SPIKE_FAULT=no-associated-data")
	output, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "--- FAIL: TestRows") || !strings.Contains(string(output), "swap") {
		t.Errorf("TestRows ended with %v:\n%s", err, output)
	}
}
