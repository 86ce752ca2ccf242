package format

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"database/sql"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shamir"
	"github.com/spiffe/spike/internal/shard"
)

// golden is a store of format 1 that was committed with the source.
const golden = "testdata/v1"

// TestGolden reads the golden store, as this reader and as Nexus. What fails it
// breaks the stores that people have.
func TestGolden(t *testing.T) {
	compare(t, goldenStore(t))
}

// TestFresh reads a store that Nexus makes as it is now.
func TestFresh(t *testing.T) {
	m := makeStore(t)
	s := compare(t, m)

	mac := s.Keys.AnchorMAC(s.State.Plaintext)
	message := s.Header.AnchorMessage(s.State.Number("epoch"), s.State.Number("sequence"), mac)
	if !bytes.Equal(m.anchor.MAC, mac) || !bytes.Equal(m.anchor.Signature, ed25519.Sign(s.Keys.Signer(), message)) {
		t.Error("Nexus tells Keepers another anchor")
	}
	i := slices.IndexFunc(s.Records, func(r Record) bool { return r.Table == "cipher" })
	block, err := aes.NewCipher(s.Records[i].Bytes("key"))
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	plaintext, err := aead.Open(nil, m.encrypted.Nonce, m.encrypted.Ciphertext, nil)
	if err != nil || string(plaintext) != "as a service" {
		t.Errorf("what the cipher service encrypted is %q, %v", plaintext, err)
	}
}

func goldenStore(t *testing.T) *made {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(golden, "shards"))
	must(t, err)
	shares := map[int][]byte{}
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		index, value, _, err := shard.ParseLine([]byte(line))
		must(t, err)
		shares[index] = value[:]
	}
	m := &made{folder: copied(t, golden), shares: map[string]map[int][]byte{"paper": shares}}
	// Its other set is known from its own rows.
	s, err := load(t, copied(t, golden)).Open("paper", shares)
	must(t, err)
	m.shares["keeper"] = map[int][]byte{}
	for _, r := range s.Records {
		if r.Table == "share" && r.Number("set") == 1 {
			m.shares["keeper"][int(r.Number("index"))] = r.Bytes("value")
		}
	}
	return m
}

// copied copies a store's files, for Nexus to take or SQLite to change.
func copied(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.Mkdir(to, 0o700))
	for _, name := range []string{"spike.db", "spike.db-wal"} {
		content, err := os.ReadFile(filepath.Join(folder, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, name), content, 0o600))
	}
	return to
}

func load(t *testing.T, folder string) *File {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(folder, "spike.db"))
	must(t, err)
	f, err := Load(t.Context(), db)
	must(t, err)
	must(t, db.Close())
	return f
}

// compare reads a store that makeStore has made. It compares what it finds with
// what was put in, and with what Nexus finds.
func compare(t *testing.T, m *made) *Store {
	t.Helper()
	f := load(t, copied(t, m.folder))
	s, err := f.Open("paper", some(m.shares["paper"], 1, 2, 4))
	must(t, err)
	for set, shares := range m.shares {
		for left := range shareCount {
			indexes := slices.Delete([]int{1, 2, 3, 4}, left, left+1)
			other, err := f.Open(set, some(shares, indexes...))
			if err != nil || !bytes.Equal(other.Keys.Root, s.Keys.Root) {
				t.Errorf("%s shares %v: %v", set, indexes, err)
			}
		}
		if _, err := f.Open(set, shares); err != nil {
			t.Errorf("all %s shares: %v", set, err)
		}
	}
	compareRecords(t, m, s)
	compareNexus(t, m, s)
	return s
}

func some(shares map[int][]byte, indexes ...int) map[int][]byte {
	out := map[int][]byte{}
	for _, i := range indexes {
		out[i] = shares[i]
	}
	return out
}

func compareRecords(t *testing.T, m *made, s *Store) {
	t.Helper()
	rest := slices.Clone(want)
	shares := map[string]map[int][]byte{"keeper": {}, "paper": {}}
	var policies []string
	for _, r := range s.Records {
		switch r.Table {
		case "secret":
			i := slices.IndexFunc(rest, func(w secretVersion) bool { return w.path == r.Text("path") && w.version == r.Number("version") })
			if i < 0 || rest[i].flags != r.Number("flags") || rest[i].values != r.Text("values") {
				t.Errorf("row %d has version %d of %q, flags %d, %s", r.ID, r.Number("version"), r.Text("path"), r.Number("flags"), r.Text("values"))
				continue
			}
			rest = slices.Delete(rest, i, i+1)
		case "share":
			set := []string{"keeper", "paper"}[r.Number("set")-1]
			shares[set][int(r.Number("index"))] = r.Bytes("value")
		case "policy":
			policies = append(policies, r.Text("name"))
		case "cipher":
			if r.ID != 1 || r.Number("messages") != 1<<20 {
				t.Errorf("cipher row %d is for %d messages", r.ID, r.Number("messages"))
			}
		}
	}
	if len(rest) > 0 {
		t.Errorf("there is no %+v", rest)
	}
	for set := range shares {
		if !maps.EqualFunc(shares[set], m.shares[set], bytes.Equal) {
			t.Errorf("the rows have other %s shares", set)
		}
	}
	if !slices.Equal(policies, []string{"web db", "everything-but-super"}) {
		t.Errorf("the policies are %q", policies)
	}
	// The birth, 15 changes of secrets, 5 of policies, a cipher key, a Keeper, and
	// the write that is in the log alone.
	if s.State.Number("epoch") != 1 || s.State.Number("sequence") != 24 {
		t.Errorf("epoch %d, sequence %d", s.State.Number("epoch"), s.State.Number("sequence"))
	}
	if url := s.Header.Keepers[1].URL; url != "https://keeper-2b:8443" {
		t.Errorf("Keeper 2 is at %s", url)
	}
}

// compareNexus has Nexus open the store, and asks it for everything.
func compareNexus(t *testing.T, m *made, s *Store) {
	t.Helper()
	v := open(t, copied(t, m.folder))
	var shares []shamir.Share
	for index, value := range some(m.shares["paper"], 2, 3, 4) {
		key, err := secret.NewKey(bytes.Clone(value))
		must(t, err)
		shares = append(shares, shamir.Share{Index: index, Value: key})
	}
	defer shamir.Destroy(shares)
	scalar, err := shamir.Combine(threshold, shares)
	must(t, err)
	defer scalar.Destroy()
	must(t, v.Unlock(t.Context(), scalar, nil))

	if !bytes.Equal(v.PublicKey(), s.Keys.Signer().Public().(ed25519.PublicKey)) {
		t.Error("Nexus has another signing key")
	}
	if epoch, sequence, ok := v.Position(); !ok || epoch != s.State.Number("epoch") || sequence != s.State.Number("sequence") {
		t.Errorf("Nexus is at commit %d of epoch %d", sequence, epoch)
	}
	versions := 0
	paths, err := v.ListSecrets(t.Context(), admin, &api.SecretListRequest{})
	must(t, err)
	for _, path := range paths {
		about, err := v.GetMetadata(t.Context(), admin, &api.SecretGetRequest{Path: path})
		must(t, err)
		versions += len(about.Versions)
	}
	for _, r := range s.Records {
		switch r.Table {
		case "secret":
			compareVersion(t, v, r)
			versions--
		case "policy":
			p, err := v.GetPolicy(t.Context(), admin, &api.PolicyRequest{ID: r.Text("name")})
			must(t, err)
			if p.SPIFFEIDPattern != r.Text("SPIFFE ID pattern") || p.PathPattern != r.Text("path pattern") || uint64(p.Permissions) != r.Number("permissions") ||
				!p.Created.Equal(at(r, "created")) || !p.Updated.Equal(at(r, "updated")) {
				t.Errorf("Nexus has another policy %q", p.Name)
			}
		}
	}
	if versions != 0 {
		t.Errorf("Nexus has %d versions more", versions)
	}
	must(t, v.Close())
}

func compareVersion(t *testing.T, v *vault.Vault, r Record) {
	t.Helper()
	path, number := r.Text("path"), int(r.Number("version"))
	about, err := v.GetMetadata(t.Context(), admin, &api.SecretGetRequest{Path: path})
	must(t, err)
	version, ok := about.Versions[number]
	deleted := r.Number("flags") != 0
	if !ok || !version.CreatedTime.Equal(at(r, "created")) || version.Destroyed != (r.Number("flags") == 3) ||
		(version.DeletedTime != nil) != deleted || deleted && !version.DeletedTime.Equal(at(r, "deleted")) ||
		!deleted && r.Number("deleted") != 0 ||
		!about.Metadata.CreatedTime.Equal(at(r, "first")) || about.Metadata.UpdatedTime.Before(at(r, "changed")) {
		t.Errorf("version %d of %s: Nexus has %+v, %+v", number, path, version, about.Metadata)
	}
	if deleted {
		must(t, v.UndeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: path, Versions: []int{number}}))
	}
	values, err := v.GetSecret(t.Context(), admin, &api.SecretGetRequest{Path: path, Version: number})
	if destroyed := r.Number("flags") == 3; destroyed != (err != nil) || string(values.Expose()) != r.Text("values") {
		t.Errorf("version %d of %s: Nexus has other values (%v)", number, path, err)
	}
}

func at(r Record, name string) time.Time { return time.Unix(0, int64(r.Number(name))) }

// TestLog reads the golden store without its log, which is how it was one commit
// earlier.
func TestLog(t *testing.T) {
	m := goldenStore(t)
	must(t, os.Remove(filepath.Join(m.folder, "spike.db-wal")))
	s, err := load(t, m.folder).Open("paper", m.shares["paper"])
	must(t, err)
	if s.State.Number("sequence") != 23 || s.State.Number("rows") != uint64(len(want)-1+2*shareCount+2+1) {
		t.Errorf("it is at commit %d, with %d rows", s.State.Number("sequence"), s.State.Number("rows"))
	}
}

// TestOtherTables reads the file of a release that did not know a table, and none
// that has more.
func TestOtherTables(t *testing.T) {
	birth, err := vault.NewBirth([]string{"https://keeper-1:8443"}, 1, 1)
	must(t, err)
	defer birth.Destroy()
	folder := filepath.Join(t.TempDir(), "store")
	v := open(t, folder)
	must(t, v.Create(t.Context(), birth))
	must(t, v.Close())
	db, err := sql.Open("sqlite", filepath.Join(folder, "spike.db"))
	must(t, err)
	_, err = db.ExecContext(t.Context(), `DROP TABLE "cipher"`)
	must(t, err)
	must(t, db.Close())
	s, err := load(t, folder).Open("keeper", exposed(t, birth.Keepers))
	if err != nil || len(s.Records) != 2 {
		t.Errorf("got %v, %v", s, err)
	}

	db, err = sql.Open("sqlite", filepath.Join(folder, "spike.db"))
	must(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE VIEW other AS SELECT 1`)
	must(t, err)
	if _, err := Load(t.Context(), db); err == nil || !strings.Contains(err.Error(), `a view "other"`) {
		t.Errorf("with a view that SPIKE never makes: %v", err)
	}
	must(t, db.Close())
}

// TestRefused shows that the comparisons above are not with anything: a reader
// that opens what was tampered with checks nothing.
func TestRefused(t *testing.T) {
	m := goldenStore(t)
	file := func() *File {
		f := load(t, copied(t, golden))
		f.Rows = slices.Clone(f.Rows)
		return f
	}
	paper := m.shares["paper"]
	refused := func(name, words string, f *File, set string, shares map[int][]byte) {
		t.Helper()
		if _, err := f.Open(set, shares); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %q", name, err, words)
		}
	}
	for i := range file().Rows {
		f := file()
		sealed := bytes.Clone(f.Rows[i].Sealed)
		sealed[len(sealed)/2] ^= 1
		f.Rows[i].Sealed = sealed
		refused("a row changed", "message authentication failed", f, "paper", paper)
		f = file()
		f.Rows[i].ID += 100
		refused("a row moved", "message authentication failed", f, "paper", paper)
		f = file()
		f.Rows = slices.Delete(f.Rows, i, i+1)
		refused("a row gone", "the state says", f, "paper", paper)
	}
	twice := &Store{Records: []Record{{Table: "policy"}, {Table: "cipher"}, {Table: "cipher"}, {Table: "policy"}}}
	if err := twice.once(); err == nil || !strings.Contains(err.Error(), "policy") {
		t.Errorf("two policies of a name: %v", err)
	}
	f := file()
	f.Header = bytes.Replace(f.Header, []byte("keeper-2b"), []byte("keeper-2c"), 1)
	refused("another URL", "the header is not the state's", f, "paper", paper)
	f = file()
	f.Sequence++
	refused("another sequence", "another commit's", f, "paper", paper)
	f = file()
	f.State.Sealed = f.Rows[0].Sealed
	refused("another state", "message authentication failed", f, "paper", paper)

	refused("the other set", "is not this store's", file(), "keeper", paper)
	refused("too few", "it takes 3", file(), "paper", some(paper, 1, 2))
	refused("an index beyond", "is not this store's", file(), "paper", map[int][]byte{5: paper[1]})
	refused("swapped shares", "is not this store's", file(), "paper", map[int][]byte{1: paper[2], 2: paper[1], 3: paper[3]})
	mixed := some(paper, 1, 2)
	mixed[3] = m.shares["keeper"][3]
	if scalar, err := Combine(mixed); err != nil {
		t.Error(err)
	} else if header, err := ParseHeader(f.Header); err != nil {
		t.Error(err)
	} else if _, err := header.Derive(scalar); err == nil {
		t.Error("shares of two sets made the key")
	}
	older := load(t, func() string {
		folder := copied(t, golden)
		must(t, os.Remove(filepath.Join(folder, "spike.db-wal")))
		return folder
	}())
	f = file()
	f.State, f.Sequence = older.State, older.Sequence
	f.Rows = slices.DeleteFunc(f.Rows, func(r Row) bool { return r.Table == "secret" && r.ID == 9 })
	refused("one row in another's stead", "the digest is not the state's", f, "paper", paper)
}
