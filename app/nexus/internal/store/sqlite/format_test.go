package sqlite_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	modernc "modernc.org/sqlite"

	"github.com/spiffe/spike/app/nexus/internal/store/sqlite"
	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// alter runs SQL on the database of a store that is closed.
func alter(t *testing.T, path string, statements ...string) {
	t.Helper()
	connector, err := modernc.NewConnector(path)
	must(t, err)
	c, err := connector.Connect(t.Context())
	must(t, err)
	for _, statement := range statements {
		if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), statement, nil); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	must(t, c.Close())
}

// poke writes bytes into a file.
func poke(t *testing.T, path string, offset int64, b ...byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt(b, offset)
	must(t, errors.Join(err, file.Close()))
}

func TestFormatRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, db string)
		kind  error
		words []string
	}{
		{"an empty file", func(t *testing.T, db string) { must(t, os.Truncate(db, 0)) },
			vault.ErrFormat, []string{"has 0 bytes", "restore a backup, or remove it"}},
		{"a text", func(t *testing.T, db string) {
			must(t, os.WriteFile(db, []byte(fmt.Sprintf("%5000s", "this is no database")), 0o600))
		}, vault.ErrFormat, []string{"is no database", "move it away"}},
		{"a short text", func(t *testing.T, db string) { must(t, os.WriteFile(db, []byte("short"), 0o600)) },
			vault.ErrFormat, []string{"has 5 bytes"}},
		{"a database of another program", func(t *testing.T, db string) {
			must(t, os.Remove(db))
			alter(t, db, "CREATE TABLE users (name TEXT)", "INSERT INTO users VALUES ('alice')")
			must(t, os.Chmod(db, 0o600))
		}, vault.ErrFormat, []string{"some other program", "name another folder"}},
		{"a newer format", func(t *testing.T, db string) { alter(t, db, "PRAGMA user_version=2") },
			vault.ErrFormat, []string{"format 2", "no newer one than 1", "start the version that wrote it"}},
		{"a format that never was", func(t *testing.T, db string) { alter(t, db, "PRAGMA user_version=-1") },
			vault.ErrFormat, []string{"which there never was"}},
		{"a table of the future", func(t *testing.T, db string) {
			alter(t, db, `CREATE TABLE "weather" (id INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT`)
		}, vault.ErrFormat, []string{`a table "weather"`, "start the version that wrote it"}},
		{"a table of another shape", func(t *testing.T, db string) { alter(t, db, `CREATE TABLE extra (x)`) },
			vault.ErrDamaged, []string{`a table "extra"`, "restore a backup"}},
		{"a table made anew", func(t *testing.T, db string) {
			alter(t, db, `DROP TABLE "secret"`, `CREATE TABLE "secret" (id INTEGER PRIMARY KEY, sealed BLOB)`)
		}, vault.ErrDamaged, []string{`a table "secret"`}},
		{"a trigger", func(t *testing.T, db string) {
			alter(t, db, `CREATE TRIGGER bad AFTER INSERT ON "secret" BEGIN DELETE FROM "secret"; END`)
		}, vault.ErrDamaged, []string{`a trigger "bad"`}},
		{"a view", func(t *testing.T, db string) { alter(t, db, `CREATE VIEW v AS SELECT 1`) },
			vault.ErrDamaged, []string{`a view "v"`}},
		{"an index", func(t *testing.T, db string) { alter(t, db, `CREATE INDEX i ON "secret" (sealed)`) },
			vault.ErrDamaged, []string{`a index "i"`}},
		{"no header table", func(t *testing.T, db string) { alter(t, db, `DROP TABLE "header"`) },
			vault.ErrDamaged, []string{`no table "header"`}},
		{"no state table", func(t *testing.T, db string) { alter(t, db, `DROP TABLE "state"`) },
			vault.ErrDamaged, []string{`no table "state"`}},
		{"no state", func(t *testing.T, db string) { alter(t, db, `DELETE FROM "state"`) },
			vault.ErrDamaged, []string{"holds rows but no state", "restore a backup"}},
		{"no state, and rows alone", func(t *testing.T, db string) {
			alter(t, db, `DELETE FROM "state"`, `DELETE FROM "header"`)
		}, vault.ErrDamaged, []string{"holds rows but no state"}},
		{"a state before the first", func(t *testing.T, db string) { alter(t, db, `UPDATE "state" SET sequence = 0`) },
			vault.ErrDamaged, []string{"its state cannot be"}},
		{"an empty state", func(t *testing.T, db string) { alter(t, db, `UPDATE "state" SET sealed = x''`) },
			vault.ErrDamaged, []string{"its state cannot be"}},
		{"pages missing", func(t *testing.T, db string) { must(t, os.Truncate(db, 2*4096)) },
			vault.ErrDamaged, []string{"restore a backup"}},
		{"a page of garbage", func(t *testing.T, db string) { poke(t, db, 4096, 0xde, 0xad, 0xbe, 0xef, 0xff, 0xff) },
			vault.ErrDamaged, []string{"restore a backup"}},
		{"a page of rows of garbage", func(t *testing.T, db string) { poke(t, db, 2*4096, 0xde, 0xad, 0xbe, 0xef, 0xff, 0xff) },
			vault.ErrDamaged, []string{"restore a backup"}},
		{"a schema of garbage", func(t *testing.T, db string) { poke(t, db, 100, 0xff, 0xff, 0xff, 0xff) },
			vault.ErrDamaged, []string{"restore a backup"}},
		{"a log without its database", func(t *testing.T, db string) { must(t, os.Rename(db, db+"-wal")) },
			vault.ErrDamaged, []string{"is missing; put it back"}},
		{"a journal", func(t *testing.T, db string) {
			must(t, os.WriteFile(db+"-journal", []byte("something"), 0o600))
		}, vault.ErrDamaged, []string{"spike.db-journal", "move it away"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := filled(t)
			c.spoil(t, filepath.Join(folder, "spike.db"))
			for _, lock := range []string{"as it was", "", string(make([]byte, 5000)), "none"} {
				placeLock(t, folder, lock)
				before := picture(t, folder)
				for range 2 { // refused once, refused again
					refused(t, folder, c.kind, c.words...)
					samePicture(t, folder, before)
				}
			}
		})
	}
}

// placeLock writes a lock file of that content, which some process before us left, or
// removes the one that is there.
func placeLock(t *testing.T, folder, content string) {
	t.Helper()
	switch path := filepath.Join(folder, "nexus.lock"); content {
	case "as it was":
	case "none":
		must(t, os.Remove(path))
	default:
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}
}

// TestLoadDamaged has damage that only reading the rows can find.
func TestLoadDamaged(t *testing.T) {
	for name, statement := range map[string]string{
		"an empty row":    `UPDATE "secret" SET sealed = x''`,
		"id 0":            `INSERT INTO "secret" VALUES (0, x'00')`,
		"a negative id":   `INSERT INTO "share" VALUES (-1, x'00')`,
		"an empty header": `UPDATE "header" SET content = x''`,
	} {
		t.Run(name, func(t *testing.T) {
			folder := filled(t)
			alter(t, filepath.Join(folder, "spike.db"), statement)
			_, _, err := open(t, folder).Load(t.Context(), func(vault.Row) error { return nil })
			if !errors.Is(err, vault.ErrDamaged) {
				t.Errorf("Load = %v, want ErrDamaged", err)
			}
		})
	}
}

// TestMissingTable opens the file of a program that knew fewer tables.
func TestMissingTable(t *testing.T) {
	folder := filled(t)
	alter(t, filepath.Join(folder, "spike.db"), `DROP TABLE "share"`)
	for range 2 {
		s := open(t, folder)
		checkAt(t, s, 1)
		closeStore(t, s)
	}
	s := open(t, folder)
	b := next(1, 100)
	b.Put = append(b.Put, vault.Row{Table: vault.TableShare, ID: 1, Sealed: content(1, 10)})
	commit(t, s, b)
}

// TestLeftBuild opens a folder where making a store was cut short.
func TestLeftBuild(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	must(t, os.Mkdir(folder, 0o700))
	for _, suffix := range []string{"", "-wal", "-journal"} {
		must(t, os.WriteFile(filepath.Join(folder, "spike.db.new"+suffix), []byte("half of it"), 0o600))
	}
	s := open(t, folder)
	checkAt(t, s, 0)
	commit(t, s, next(0, 100))
	closeStore(t, s)
	entries, err := os.ReadDir(folder)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{"nexus.lock", "spike.db"}; !slices.Equal(names, want) {
		t.Errorf("the folder has %v, want %v", names, want)
	}
}

// TestLogCut cuts the log, as a crash might, at places all over it. What opens
// is an exact earlier commit.
func TestLogCut(t *testing.T) {
	folder := filled(t)
	s := open(t, folder)
	for at := uint64(1); at < 20; at++ {
		commit(t, s, next(at, int(at)*500))
	}
	live := copied(t, folder)
	closeStore(t, s)
	database, err := os.ReadFile(filepath.Join(live, "spike.db"))
	must(t, err)
	log, err := os.ReadFile(filepath.Join(live, "spike.db-wal"))
	must(t, err)
	reached := make(map[uint64]bool)
	const cuts = 40
	for i := range cuts {
		cut := i * len(log) / (cuts - 1)
		folder := filepath.Join(t.TempDir(), "cut")
		must(t, os.Mkdir(folder, 0o700))
		must(t, os.WriteFile(filepath.Join(folder, "spike.db"), database, 0o600))
		must(t, os.WriteFile(filepath.Join(folder, "spike.db-wal"), log[:cut], 0o600))
		s, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
		must(t, err)
		at, err := loaded(s)
		if err != nil {
			t.Errorf("cut after %d of %d bytes: %v", cut, len(log), err)
		}
		reached[at] = true
		commit(t, s, next(at, 100))
		closeStore(t, s)
	}
	if len(reached) < 10 || !reached[1] || !reached[20] {
		t.Errorf("the cuts led to %v", reached)
	}
}
