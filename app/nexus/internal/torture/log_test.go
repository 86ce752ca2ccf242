package torture

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver of that name

	"github.com/spiffe/spike/internal/api"
)

// moment is a store after a commit.
type moment struct {
	sequence uint64
	content  string
	log      int64 // bytes of the log that make it so
}

// commits makes a store that has all of its commits but the first few in the log,
// and returns its files, taken while it was open, and every moment in the log.
func commits(t *testing.T, c *cluster) (whole [2][]byte, moments []moment) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "store")
	c.fill(t, folder)
	v := c.mustOpen(t, folder)
	note := func() {
		t.Helper()
		info, err := os.Stat(filepath.Join(folder, journal))
		must(t, err)
		_, sequence, _ := v.Size()
		moments = append(moments, moment{sequence, c.mustContent(t, v), info.Size()})
	}
	note()
	for n := range 40 {
		path := fmt.Sprintf("log/%d", n%7)
		switch {
		case n%9 == 8:
			must(t, v.DeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: path}))
		default:
			put(t, v, path, fmt.Sprintf("%d %0*d", n, n*n*7%9000, 0))
		}
		note()
	}
	whole = files(t, copied(t, folder))
	must(t, v.Close())
	return whole, moments
}

// TestCutLog cuts the log anywhere. The store opens as what was committed wholly
// before the cut, and not a commit more or less.
func TestCutLog(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	whole, moments := commits(t, c)
	folder := filepath.Join(t.TempDir(), "cut")
	for range *cuts {
		at := r.IntN(len(whole[1]) + 1)
		want := moments[0]
		for _, m := range moments {
			if m.log <= int64(at) {
				want = m
			}
		}
		write(t, folder, [2][]byte{whole[0], whole[1][:at]})
		v, err := c.open(t.Context(), folder)
		if err != nil {
			t.Errorf("the log cut to %d of %d bytes: %v", at, len(whole[1]), err)
			continue
		}
		if _, sequence, _ := v.Size(); sequence != want.sequence {
			t.Errorf("the log cut to %d of %d bytes is at commit %d, not %d", at, len(whole[1]), sequence, want.sequence)
		}
		if err := c.works(t, folder, v, want.content); err != nil {
			t.Errorf("the log cut to %d of %d bytes: %v", at, len(whole[1]), err)
		}
	}
}

// TestEditedLog edits the log anywhere. The store opens as it was after some
// commit, or is refused, and then left as it is.
func TestEditedLog(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	whole, moments := commits(t, c)
	folder := filepath.Join(t.TempDir(), "edited")
	opened := map[uint64]bool{}
	for n := range *edits / 2 {
		how, edited := edit(r, whole[1])
		write(t, folder, [2][]byte{bytes.Clone(whole[0]), edited})
		before := files(t, folder)
		v, err := c.open(t.Context(), folder)
		if err != nil {
			if err := refused(err); err != nil {
				t.Errorf("edit %d, %s: %v", n, how, err)
			}
			if err := same(files(t, folder), before); err != nil {
				t.Errorf("edit %d, %s: it was refused, and changed: %v", n, how, err)
			}
			continue
		}
		_, sequence, _ := v.Size()
		opened[sequence] = true
		var want string
		for _, m := range moments {
			if m.sequence == sequence {
				want = m.content
			}
		}
		if err := c.works(t, folder, v, want); err != nil {
			t.Errorf("edit %d, %s: %v", n, how, err)
		}
	}
	if len(opened) < 2 {
		t.Errorf("no edit had any effect, or all had the same: it opened at %v", opened)
	}
}

// TestTamperedLog has rows tampered with in the log alone, by somebody who knows how
// to write one. The store is refused, however often it is tried, and left as it is:
// the database is good, and the log is the evidence.
func TestTamperedLog(t *testing.T) {
	c := newCluster(t)
	whole, moments := commits(t, c)
	folder := filepath.Join(t.TempDir(), "tampered")
	for name, statement := range map[string]string{
		"an edited secret":    `UPDATE "secret" SET sealed = CAST(substr(sealed, 1, 30) || x'00' || substr(sealed, 32) AS BLOB) WHERE id = (SELECT min(id) FROM "secret")`,
		"a removed secret":    `DELETE FROM "secret" WHERE id = (SELECT max(id) FROM "secret")`,
		"an edited share":     `UPDATE "share" SET sealed = zeroblob(length(sealed)) WHERE id = 1`,
		"a moved policy":      `UPDATE "policy" SET id = 999 WHERE id = (SELECT max(id) FROM "policy")`,
		"an edited state":     `UPDATE "state" SET sealed = zeroblob(length(sealed))`,
		"an edited header":    `UPDATE "header" SET content = CAST(replace(CAST(content AS TEXT), 'https://k1', 'https://x1') AS BLOB)`,
		"a header of another": `UPDATE "header" SET content = CAST('{}' AS BLOB)`,
	} {
		write(t, folder, whole)
		tampered := tamperedInLog(t, folder, statement)
		before := files(t, tampered)
		if bytes.Equal(before[1], whole[1]) || !bytes.Equal(before[0], whole[0]) {
			t.Fatalf("%s is not in the log alone", name)
		}
		for range 2 {
			if v, err := c.open(t.Context(), tampered); err == nil {
				t.Errorf("%s: it is served", name)
				must(t, v.Close())
			} else if err := refused(err); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := same(files(t, tampered), before); err != nil {
				t.Errorf("%s: it was refused, and changed: %v", name, err)
			}
		}
		// What was tampered with can be put right.
		write(t, tampered, whole)
		must(t, c.works(t, tampered, c.mustOpen(t, tampered), moments[len(moments)-1].content))
	}
}

// tamperedInLog runs a statement on a store, and returns a copy of the folder in
// which the log alone has it.
func tamperedInLog(t *testing.T, folder, statement string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, database)+"?mode=rw&_pragma=wal_autocheckpoint(0)")
	must(t, err)
	defer func() { must(t, db.Close()) }()
	result, err := db.ExecContext(t.Context(), statement)
	must(t, err)
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%s changes %d rows (%v)", statement, n, err)
	}
	return copied(t, folder)
}
