package format

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/policy"
	"github.com/spiffe/spike/internal/shard"
)

// A format keeps its vectors for as long as there are stores of it. Another format
// gets others, beside these.
var remake = flag.Bool("make", false, "make the golden store and its vectors anew")

const page = "../../../../docs/storage.md"

// vector is one value of the golden store, or one step on the way to it.
type vector struct {
	name  string
	value []byte
}

// vectors returns what docs/storage.md prints.
func vectors(t *testing.T) (list []vector) {
	t.Helper()
	m := goldenStore(t)
	f := load(t, copied(t, golden))
	paper := some(m.shares["paper"], 1, 2, 4)
	s, err := f.Open("paper", paper)
	must(t, err)
	scalar, err := Combine(paper)
	must(t, err)
	add := func(name string, value []byte) { list = append(list, vector{name, value}) }

	k := s.Keys
	add("order of P-256", elliptic.P256().Params().N.Bytes())
	add("cluster id", k.Cluster)
	add("key id", k.KeyID)
	for _, i := range []int{1, 2, 4} {
		add(fmt.Sprintf("paper share %d", i), paper[i])
	}
	message := s.Header.ShareMessage("paper", 1, paper[1])
	digest := sha256.Sum256(message)
	add("paper share 1: parts", message)
	add("paper share 1: digest", digest[:])
	add("S", scalar)
	add("salt", k.Salt)
	add("root key", k.Root)
	add("row key", k.Row)
	add("integrity key", k.Integrity)
	add("anchor key", k.Anchor)
	add("signing key", k.Signing)
	add("signing key: public key", k.Signer().Public().(ed25519.PublicKey))

	row := func(row Row) {
		t.Helper()
		name := fmt.Sprintf("%s %d: ", row.Table, row.ID)
		add(name+"sealed", row.Sealed)
		add(name+"associated data", k.Associated(row))
		key, err := k.MessageKey(row.Sealed)
		must(t, err)
		add(name+"message key", key)
		plaintext, err := k.Open(row)
		must(t, err)
		add(name+"plaintext", plaintext)
	}
	check, err := s.Header.CheckRow()
	must(t, err)
	row(check)
	for i, r := range f.Rows {
		switch {
		case r.Table == "secret" && r.ID == 3: // deleted
			row(r)
			add("secret 3: tag over", TagMessage(r))
			add("secret 3: tag", k.Tag(r))
		case r.ID == 1, r.Table == "secret" && r.ID == 5: // destroyed
			add(fmt.Sprintf("%s %d: plaintext", r.Table, r.ID), s.Records[i].Plaintext)
		}
	}
	row(f.State)
	header := sha256.Sum256(f.Header)
	add("header: SHA-256", header[:])
	add("digest", s.State.Bytes("digest"))
	mac := k.AnchorMAC(s.State.Plaintext)
	anchor := s.Header.AnchorMessage(s.State.Number("epoch"), s.State.Number("sequence"), mac)
	add("anchor: MAC", mac)
	add("anchor: signed", anchor)
	add("anchor: signature", ed25519.Sign(k.Signer(), anchor))
	return list
}

// print is how the page has them.
func print(list []vector) string {
	var b strings.Builder
	b.WriteString("```text\n")
	for _, v := range list {
		fmt.Fprintf(&b, "%s\n", v.name)
		for chunk := range slices.Chunk(v.value, 32) {
			fmt.Fprintf(&b, "  %x\n", chunk)
		}
	}
	b.WriteString("```\n")
	return b.String()
}

func readPage(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(page)
	must(t, err)
	return string(content)
}

// section returns what stands below a heading, up to the next heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readPage(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no %q", heading)
	}
	if end := regexp.MustCompile(`(?m)^#+ `).FindStringIndex(rest); end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

func TestPageVectors(t *testing.T) {
	if *remake {
		save(t)
	}
	want := print(vectors(t))
	if got := section(t, "## Test vectors"); !strings.Contains(got, "\n"+want) {
		t.Errorf("the page has other vectors; from the golden store come\n%s", want)
	}
}

// save makes the golden store anew and writes its vectors into the page.
func save(t *testing.T) {
	t.Helper()
	m := makeStore(t)
	must(t, os.MkdirAll(golden, 0o755))
	for _, name := range []string{"spike.db", "spike.db-wal"} {
		content, err := os.ReadFile(filepath.Join(m.folder, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(golden, name), content, 0o644))
	}
	shards := []byte("# Recovery shards of the store beside this file, three of which open it. They are\n" +
		"# test vectors: public, and good for nothing else. See docs/storage.md.\n")
	for i := range shareCount {
		shards = append(shards, shard.Line(i+1, (*shard.Value)(m.shares["paper"][i+1]), shard.Origin{})...)
		shards = append(shards, '\n')
	}
	must(t, os.WriteFile(filepath.Join(golden, "shards"), shards, 0o644))
	text, _, ok := strings.Cut(readPage(t), "\n## Test vectors\n")
	if !ok {
		t.Fatal("the page has no place for vectors")
	}
	intro, _, _ := strings.Cut(section(t, "## Test vectors"), "```")
	must(t, os.WriteFile(page, []byte(text+"\n## Test vectors\n"+intro+print(vectors(t))), 0o644))
}

// cells returns the rows of a section's table.
func cells(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	for line := range strings.Lines(section(t, heading)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") {
			row := strings.Split(strings.Trim(line, "|"), "|")
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			rows = append(rows, row)
		}
	}
	if len(rows) < 3 || !slices.Equal(rows[0], []string{"at", "bytes", "field", "content"}) {
		t.Fatalf("%s has no table of bytes", heading)
	}
	return rows[2:]
}

// TestPageRecords compares the tables of records with the fields that this reader
// takes them for.
func TestPageRecords(t *testing.T) {
	for _, table := range append(tables[:], "state") {
		at, fixed := 0, true
		var want [][]string
		for _, f := range Layout(table) {
			row := []string{"", strconv.Itoa(f.Bytes), f.Name}
			if fixed {
				row[0] = strconv.Itoa(at)
			}
			switch at += f.Bytes; f.Bytes {
			case Counted:
				row[1], fixed = "n", false
			case Rest:
				row[1], fixed = "rest", false
			}
			want = append(want, row)
		}
		var got [][]string
		for _, row := range cells(t, "### "+table) {
			got = append(got, row[:3])
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the page has of %s\n%v\nand the reader has\n%v", table, got, want)
		}
	}
}

// TestPageMessages goes through a vector with each of the other tables of bytes:
// where the page names bytes or text they are there, and a length is that of what
// follows it.
func TestPageMessages(t *testing.T) {
	list := vectors(t)
	value := func(name string) []byte {
		i := slices.IndexFunc(list, func(v vector) bool { return v.name == name })
		if i < 0 {
			t.Fatalf("there is no vector %q", name)
		}
		return list[i].value
	}
	for _, c := range []struct {
		heading, vector string
		n               int // what the page calls so
	}{
		{"### Share digest", "paper share 1: parts", len("paper")},
		{"### Sealed row", "secret 3: sealed", len(value("secret 3: plaintext"))},
		{"### Associated data", "secret 3: associated data", len("secret")},
		{"### Tag", "secret 3: tag over", len("secret")},
		{"### Anchor", "anchor: signed", 0},
	} {
		message, at, fixed := value(c.vector), 0, true
		wrong := func(row []string, format string, args ...any) {
			t.Helper()
			t.Errorf("%s, %q: %s", c.heading, row[2], fmt.Sprintf(format, args...))
		}
		rows := cells(t, c.heading)
		size := func(i int) int {
			if rows[i][1] == "n" {
				return c.n
			}
			size, err := strconv.Atoi(rows[i][1])
			must(t, err)
			return size
		}
		for i, row := range rows {
			if at+size(i) > len(message) {
				t.Fatalf("%s: it ends before %q", c.heading, row[2])
			}
			if offset := strconv.Itoa(at); fixed && row[0] != offset || !fixed && row[0] != "" {
				wrong(row, "it is at %d, and the page has %q", at, row[0])
			}
			field := message[at : at+size(i)]
			content := strings.Trim(row[3], "`")
			switch {
			case row[2] == "label" && string(field) != content:
				wrong(row, "it is %q, and the page has %q", field, content)
			case row[2] == "length" && asNumber(field) != uint64(size(i+1)):
				wrong(row, "it is %x, and %d bytes follow", field, size(i+1))
			case strings.HasPrefix(content, "00") && hex.EncodeToString(field) != content:
				wrong(row, "it is %x, and the page has %s", field, content)
			}
			at, fixed = at+size(i), fixed && row[1] != "n"
		}
		if at != len(message) {
			t.Errorf("%s: the table is %d bytes short", c.heading, len(message)-at)
		}
	}
}

// TestPageNames compares what has no vector: the schema, and the names of fields
// and labels.
func TestPageNames(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(copied(t, golden), "spike.db"))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	rows, err := db.QueryContext(t.Context(), "SELECT sql FROM sqlite_schema")
	must(t, err)
	defer func() { must(t, rows.Close()) }()
	var schema []string
	for rows.Next() {
		var create string
		must(t, rows.Scan(&create))
		schema = append(schema, create)
	}
	must(t, rows.Err())
	written := regexp.MustCompile(`(?m)^CREATE .*`).FindAllString(section(t, "## Tables"), -1)
	same(t, "the schema", written, schema)

	for _, folder := range []string{golden, makeStore(t).folder} {
		same(t, "the fields of the header", quoted(section(t, "## Header"), 1), headerFields(t, folder))
	}
	same(t, "the labels", quoted(section(t, "## Keys"), 2), []string{labelRoot, labelRow, labelIntegrity, labelAnchor, labelSigning})
	if !strings.Contains(section(t, "## Keys"), "plaintext `"+checkText+"`.") {
		t.Error("the page has another check value")
	}
	if order := fmt.Sprintf("\n%x\n", elliptic.P256().Params().N); !strings.Contains(section(t, "## Shares"), order) {
		t.Error("the page has another order")
	}
	permissions := fmt.Sprintf("read = %d, write = %d, list = %d, execute = %d and super = %d",
		policy.Read, policy.Write, policy.List, policy.Execute, policy.Super)
	if !strings.Contains(section(t, "### policy"), permissions) {
		t.Errorf("the page does not say: %s", permissions)
	}
}

// headerFields returns the names in a store's header, letter by letter: Go's
// decoder does not care about case.
func headerFields(t *testing.T, folder string) []string {
	t.Helper()
	var header map[string]any
	must(t, json.Unmarshal(load(t, copied(t, folder)).Header, &header))
	names := slices.Collect(maps.Keys(header))
	for name := range header["keepers"].([]any)[0].(map[string]any) {
		names = append(names, "keepers[]."+name)
	}
	return names
}

// quoted returns what is quoted in a column, from 1, of a section's table.
func quoted(text string, column int) (list []string) {
	for line := range strings.Lines(text) {
		if row := strings.Split(line, "|"); len(row) > column {
			if cell := strings.TrimSpace(row[column]); strings.HasPrefix(cell, "`") {
				list = append(list, strings.Trim(cell, "`"))
			}
		}
	}
	return list
}

func same(t *testing.T, what string, page, store []string) {
	t.Helper()
	slices.Sort(page)
	slices.Sort(store)
	if !slices.Equal(page, store) {
		t.Errorf("%s: the page has\n%q\nand there is\n%q", what, page, store)
	}
}
