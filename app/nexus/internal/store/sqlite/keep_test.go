package sqlite_test

import (
	"context"
	"database/sql/driver"
	"os"
	"path/filepath"
	"slices"
	"testing"

	modernc "modernc.org/sqlite"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// alteredInLog is a copy of a folder in which statements have run, of which nothing
// but the write-ahead log shows anything.
func alteredInLog(t *testing.T, folder string, statements ...string) string {
	t.Helper()
	at := copied(t, folder)
	db := filepath.Join(at, "spike.db")
	before, err := os.ReadFile(db)
	must(t, err)
	connector, err := modernc.NewConnector("file:" + db + "?mode=rw&_pragma=wal_autocheckpoint(0)")
	must(t, err)
	c, err := connector.Connect(t.Context())
	must(t, err)
	for _, statement := range statements {
		if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), statement, nil); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	altered := copied(t, at)
	must(t, c.Close())
	must(t, os.Remove(filepath.Join(altered, "spike.db-shm")))
	after, err := os.ReadFile(filepath.Join(altered, "spike.db"))
	must(t, err)
	if log, err := os.Stat(filepath.Join(altered, "spike.db-wal")); err != nil || log.Size() == 0 || !slices.Equal(before, after) {
		t.Fatalf("what was altered is not in the log alone: %v", err)
	}
	return altered
}

// TestLogOfARefusedStore: what makes a store one to be refused is in its log alone.
// Both files are then as they were: a checkpoint would have been the end of the
// database, which is good, and of the evidence.
func TestLogOfARefusedStore(t *testing.T) {
	for _, c := range []struct {
		name      string
		statement string
		kind      error
		word      string
	}{
		{"a newer format", "PRAGMA user_version=2", vault.ErrFormat, "no newer one than 1"},
		{"another program's", "PRAGMA application_id=7", vault.ErrFormat, "some other program"},
		{"a table of the future", `CREATE TABLE "weather" (id INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT`,
			vault.ErrFormat, `a table "weather"`},
		{"a trigger", `CREATE TRIGGER bad AFTER INSERT ON "secret" BEGIN DELETE FROM "secret"; END`,
			vault.ErrDamaged, `a trigger "bad"`},
		{"no state table", `DROP TABLE "state"`, vault.ErrDamaged, `no table "state"`},
		{"no state", `DELETE FROM "state"`, vault.ErrDamaged, "holds rows but no state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := alteredInLog(t, filled(t), c.statement)
			before := picture(t, folder)
			for range 2 { // refused once, refused again
				refused(t, folder, c.kind, c.word)
				samePicture(t, folder, before)
			}
			// Without the log, the store is what it was.
			must(t, os.Remove(filepath.Join(folder, "spike.db-wal")))
			checkAt(t, open(t, folder), 1)
		})
	}
}

// TestLogUntilTheFirstCommit: rows are judged by whoever loads them, after Open. So
// nothing is written before there is a commit, whatever was found.
func TestLogUntilTheFirstCommit(t *testing.T) {
	for name, statements := range map[string][]string{
		"a tampered row":                {`UPDATE "secret" SET sealed = x'00'`},
		"an older program's":            {`DROP TABLE "share"`},
		"an older program's, and empty": {`DROP TABLE "share"`, `DELETE FROM "state"`, `DELETE FROM "header"`, `DELETE FROM "secret"`},
	} {
		t.Run(name, func(t *testing.T) {
			folder := alteredInLog(t, filled(t), statements...)
			before := picture(t, folder)
			for range 2 {
				s := open(t, folder)
				_, state, err := s.Load(t.Context(), func(vault.Row) error { return nil })
				must(t, err)
				closeStore(t, s)
				samePicture(t, folder, before)

				// The next life begins with a commit.
				again := copied(t, folder)
				s = open(t, again)
				commit(t, s, next(state.Sequence, 100))
				closeStore(t, s)
				if got := names(t, again); !slices.Equal(got, []string{"nexus.lock", "spike.db"}) {
					t.Errorf("after a commit the folder has %v", got)
				}
			}
		})
	}
}

// TestNoLogBefore: where there was no log, none is left by a store that nobody wrote
// to, nor is one that was converted by hand converted back before a commit.
func TestNoLogBefore(t *testing.T) {
	for name, statement := range map[string]string{
		"as closed":        "PRAGMA journal_mode=WAL",
		"without any log":  "PRAGMA journal_mode=DELETE",
		"without a table":  `DROP TABLE "share"`,
		"with a bad state": `UPDATE "state" SET sealed = x''`,
	} {
		t.Run(name, func(t *testing.T) {
			folder := filled(t)
			alter(t, filepath.Join(folder, "spike.db"), statement)
			before := picture(t, folder)
			if name == "with a bad state" {
				refused(t, folder, vault.ErrDamaged, "its state cannot be")
				samePicture(t, folder, before)
				return
			}
			s := open(t, folder)
			checkAt(t, s, 1)
			closeStore(t, s)
			samePicture(t, folder, before)
			s = open(t, folder)
			commit(t, s, next(1, 100))
			checkAt(t, open(t, copied(t, folder)), 2) // had the power gone now
			closeStore(t, s)
			checkAt(t, open(t, folder), 2)
		})
	}
}
