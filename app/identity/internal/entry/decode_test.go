package entry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const me = 4242

// files writes each content to a file of its own, a.yaml, b.yaml and so on, and
// returns a source of them.
func files(t testing.TB, contents ...string) (*Source, []string) {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i, content := range contents {
		name := filepath.Join(dir, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return NewSource(names, me), names
}

func TestLoad(t *testing.T) {
	source, names := files(t, `
trust_domain: spike.ist
ttl: 10m
entries:
  - id: /spike/nexus
    path: ../bin/nexus
  - id: /spike/pilot/role/superuser
    path: /opt/./spike
    uid: 1000
    gid: 0
`, `
entries:
  - {id: /backup, uid: 0}
  - {id: /spike/nexus, path: nexus}
`)
	set, err := source.Load()
	if err != nil {
		t.Fatal(err)
	}
	if set.TrustDomain.Name() != "spike.ist" || set.TTL != 10*time.Minute {
		t.Errorf("set is %s", set)
	}
	dir := filepath.Dir(names[0])
	var got []string
	for _, e := range set.Entries {
		gid := "any"
		if e.GID != nil {
			gid = fmt.Sprint(*e.GID)
		}
		got = append(got, fmt.Sprintf("%s %s %s uid=%d gid=%s", filepath.Base(e.Place), e.ID, e.Path, e.UID, gid))
	}
	want := []string{
		"a.yaml:5 spiffe://spike.ist/spike/nexus " + filepath.Join(filepath.Dir(dir), "bin/nexus") + " uid=4242 gid=any",
		"a.yaml:7 spiffe://spike.ist/spike/pilot/role/superuser /opt/spike uid=1000 gid=0",
		"b.yaml:3 spiffe://spike.ist/backup  uid=0 gid=any",
		"b.yaml:4 spiffe://spike.ist/spike/nexus " + filepath.Join(dir, "nexus") + " uid=4242 gid=any",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDefaultTTL(t *testing.T) {
	source, _ := files(t, "trust_domain: spike.ist\nentries: []\n")
	set, err := source.Load()
	if err != nil {
		t.Fatal(err)
	}
	if set.TTL != time.Hour || len(set.Entries) != 0 {
		t.Errorf("set is %s", set)
	}
}

func TestWhatIsRefused(t *testing.T) {
	const top = "trust_domain: spike.ist\nentries:\n"
	for _, tc := range []struct {
		name     string
		contents []string
		want     []string
	}{
		{"empty file", []string{""}, []string{"a.yaml: the file is empty"}},
		{"comment only", []string{"# nothing\n"}, []string{"a.yaml: the file is empty"}},
		{"not YAML", []string{"entries: [\n"}, []string{"a.yaml: yaml: line "}},
		{"not a mapping", []string{"- id: /a\n"}, []string{"a.yaml:1: the file must be a mapping"}},
		{"two documents", []string{top + "---\n" + top}, []string{"a.yaml: there is more after the first YAML document"}},
		{"no trust domain", []string{"entries: []\n"}, []string{"no file gives the trust_domain"}},
		{"bad trust domain", []string{"trust_domain: Spike Ist\n"}, []string{`a.yaml:1: trust_domain "Spike Ist" is not a trust domain name`}},
		{"trust domain as ID", []string{"trust_domain: spiffe://spike.ist/x\n"}, []string{"a.yaml:1: trust_domain", "must be a bare name"}},
		{"empty trust domain", []string{"trust_domain:\n"}, []string{"a.yaml:1: trust_domain is empty"}},
		{"unknown key at the top", []string{"trust_domian: spike.ist\n"}, []string{`a.yaml:1: unknown key "trust_domian"; the file may have trust_domain, ttl, entries`}},
		{"doubled key", []string{"trust_domain: a.org\ntrust_domain: b.org\n"}, []string{"a.yaml:2: trust_domain is given twice"}},
		{"ttl without unit", []string{"ttl: 3600\n"}, []string{`a.yaml:1: ttl "3600" is not a duration`}},
		{"short ttl", []string{"ttl: 1s\n"}, []string{"a.yaml:1: ttl 1s is outside 2s to 24h"}},
		{"long ttl", []string{"ttl: 25h\n"}, []string{"a.yaml:1: ttl 25h0m0s is outside"}},
		{"entries not a list", []string{"entries: {id: /a}\n"}, []string{"a.yaml:1: entries must be a list"}},
		{"entries left empty", []string{"entries:\n"}, []string{"a.yaml:1: entries must be a list"}},
		{"entry not a mapping", []string{top + "  - /a\n"}, []string{"a.yaml:3: an entry must be a mapping"}},
		{"unknown key in an entry", []string{top + "  - id: /a\n    uid: 1\n    pth: /x\n"}, []string{`a.yaml:5: unknown key "pth"; an entry may have id, path, uid, gid`}},
		{"alias", []string{top + "  - &e {id: /a, uid: 1}\n  - *e\n"}, []string{"a.yaml:4: an entry must be a mapping"}},
		{"aliased value", []string{top + "  - {id: &i /a, uid: 1}\n  - {id: *i, uid: 2}\n"}, []string{"a.yaml:4: id must be a single value, written out"}},
		{"merge key", []string{top + "  - &e {id: /a, uid: 1}\n  - {<<: *e, uid: 2}\n"}, []string{`a.yaml:4: unknown key "<<"`}},
		{"no id", []string{top + "  - path: x\n"}, []string{"a.yaml:3: the entry has no id"}},
		{"empty id", []string{top + "  - {id: '', uid: 1}\n"}, []string{"a.yaml:3: id is empty"}},
		{"whole ID", []string{top + "  - {id: 'spiffe://spike.ist/a', uid: 1}\n"}, []string{"a.yaml:3: id", "must be the SPIFFE ID's path alone"}},
		{"root ID", []string{top + "  - {id: /, uid: 1}\n"}, []string{"a.yaml:3: id", "not a valid SPIFFE ID path"}},
		{"dots in ID", []string{top + "  - {id: /a/../b, uid: 1}\n"}, []string{"a.yaml:3: id", "not a valid SPIFFE ID path"}},
		{"slash at the end of ID", []string{top + "  - {id: /a/, uid: 1}\n"}, []string{"a.yaml:3: id", "not a valid SPIFFE ID path"}},
		{"odd character in ID", []string{top + "  - {id: '/a b', uid: 1}\n"}, []string{"a.yaml:3: id", "not a valid SPIFFE ID path"}},
		{"long ID", []string{top + "  - {id: /" + strings.Repeat("a", 2048) + ", uid: 1}\n"}, []string{"a.yaml:3: the SPIFFE ID has"}},
		{"no selector", []string{top + "  - id: /a\n"}, []string{"a.yaml:3: the entry has no selector"}},
		{"group alone", []string{top + "  - {id: /a, gid: 1}\n"}, []string{"a.yaml:3: the entry has neither path nor uid"}},
		{"empty uid", []string{top + "  - {id: /a, uid: }\n"}, []string{"a.yaml:3: uid is empty"}},
		{"user by name", []string{top + "  - {id: /a, uid: nobody}\n"}, []string{`a.yaml:3: uid "nobody" is not a whole number`}},
		{"negative uid", []string{top + "  - {id: /a, uid: -1}\n"}, []string{`a.yaml:3: uid "-1" is not a whole number`}},
		{"the kernel's no uid", []string{top + "  - {id: /a, uid: 4294967295}\n"}, []string{"a.yaml:3: uid", "0 to 4294967294"}},
		{"octal gid", []string{top + "  - {id: /a, uid: 1, gid: 010}\n"}, []string{`a.yaml:3: gid "010" is not a whole number`}},
		{"list of uids", []string{top + "  - {id: /a, uid: [1, 2]}\n"}, []string{"a.yaml:3: uid must be a single value"}},
		{"empty path", []string{top + "  - {id: /a, path: ''}\n"}, []string{"a.yaml:3: path is empty"}},
		{"zero byte in path", []string{top + `  - {id: /a, path: "a\0b"}` + "\n"}, []string{"a.yaml:3: path", "is not a file name"}},
		{"doubled entry", []string{top + "  - {id: /a, path: x}\n  - {id: /a, path: ./x}\n"}, []string{"a.yaml:4: the same entry for spiffe://spike.ist/a stands at", "a.yaml:3 already"}},
		{"doubled by the default uid", []string{top + "  - {id: /a, path: x}\n  - {id: /a, path: x, uid: 4242}\n"}, []string{"a.yaml:4: the same entry"}},
		{"doubled across files", []string{top + "  - {id: /a, uid: 1}\n", top + "  - {id: /a, uid: 1}\n"}, []string{"b.yaml:3: the same entry", "a.yaml:3 already"}},
		{"two trust domains", []string{"trust_domain: a.org\n", "trust_domain: b.org\n"}, []string{"b.yaml:1: trust_domain b.org is not the a.org of", "a.yaml:1"}},
		{"two ttls", []string{"trust_domain: a.org\nttl: 1h\n", "ttl: 30m\n"}, []string{"b.yaml:1: ttl 30m0s is not the 1h0m0s of", "a.yaml:2"}},
		{"several mistakes", []string{"ttl: x\nentries:\n  - {id: a, uid: y}\n", "entries: 1\n"},
			[]string{"a.yaml:1: ttl", "a.yaml:3: id", "a.yaml:3: uid", "b.yaml:1: entries"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			source, _ := files(t, tc.contents...)
			set, err := source.Load()
			if err == nil {
				t.Fatalf("accepted: %s", set)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is\n%v\nwhich lacks %q", err, want)
				}
			}
		})
	}
}

func TestSameIDForDifferentCallers(t *testing.T) {
	source, _ := files(t, `trust_domain: spike.ist
ttl: 1h
entries:
  - {id: /a, path: x}
  - {id: /a, path: y}
  - {id: /a, path: x, uid: 1}
  - {id: /a, path: x, uid: 1, gid: 0}
  - {id: /b, path: x}
`, "trust_domain: spike.ist\nttl: 60m\n")
	if set, err := source.Load(); err != nil || len(set.Entries) != 5 {
		t.Errorf("got %v, %v", set, err)
	}
}

func TestTooManyEntries(t *testing.T) {
	var b strings.Builder
	b.WriteString("trust_domain: spike.ist\nentries:\n")
	for i := range maxEntries + 1 {
		fmt.Fprintf(&b, "  - {id: /a, uid: %d}\n", i)
	}
	source, _ := files(t, b.String())
	if _, err := source.Load(); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("error is %v", err)
	}
}

// Whatever is accepted keeps the rules that attestation relies on.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"",
		"trust_domain: spike.ist\nttl: 1h\nentries:\n  - id: /spike/nexus\n    path: ../bin/nexus\n  - id: /b\n    uid: 1000\n    gid: 0\n",
		"trust_domain: spike.ist\nentries:\n  - {id: /a, path: x}\n  - {id: /a, path: ./x}\n",
		"trust_domain: spike.ist\nentries: [{id: /a, gid: 1}]\n",
		"trust_domain: &a spike.ist\nttl: *a\n",
		"a: &a [*a]\n",
		"entries: [{id: /a, uid: 0x10}, {id: /a, uid: 4294967295}, {id: /a, uid: 1_0}]\n",
		"trust_domain: !!binary c3Bpa2U=\n? [complex]\n: key\n",
		"%YAML 1.2\n---\n{}\n...\n---\n{}\n",
		"\ufefftrust_domain: spike.ist\r\n\tentries: []\n",
		"{\x00}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		const name = "/etc/spike/a.yaml"
		doc, err := decode(name, content)
		if err != nil {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		set, err := merge([]*document{doc}, me)
		if err != nil {
			return
		}
		if set.TrustDomain.IsZero() || set.TTL < minTTL || set.TTL > maxTTL {
			t.Errorf("accepted %s", set)
		}
		seen := map[selectors]bool{}
		for _, e := range set.Entries {
			if !e.ID.MemberOf(set.TrustDomain) || e.ID.Path() == "" || e.Place == "" {
				t.Errorf("accepted ID %q at %q", e.ID, e.Place)
			}
			if e.Path != "" && (!filepath.IsAbs(e.Path) || filepath.Clean(e.Path) != e.Path) {
				t.Errorf("accepted path %q", e.Path)
			}
			if seen[e.selectors()] {
				t.Errorf("accepted %s twice", e.ID)
			}
			seen[e.selectors()] = true
		}
		for _, raw := range doc.entries {
			if raw.path == "" && raw.uid == nil {
				t.Errorf("accepted line %d with neither path nor uid", raw.line)
			}
		}
	})
}
