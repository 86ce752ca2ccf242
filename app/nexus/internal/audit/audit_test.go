package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/app/nexus/internal/audit"
	"github.com/spiffe/spike/app/nexus/internal/vault"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/decision"
)

func TestLine(t *testing.T) {
	var b bytes.Buffer
	log := audit.New(&b)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("east", 3600))
	for _, e := range []vault.Entry{
		{Time: at, Request: "r1", Caller: "spiffe://spike.ist/x", Operation: decision.SecretGet, Path: "a/b", Version: 3, Allowed: true, By: "role superuser"},
		{Time: at, Request: "r2", Caller: "spiffe://spike.ist/x", Operation: decision.SecretPut, Path: "a\n\"b", Result: "access_unauthorized"},
		{Time: at, Request: "r3", Caller: "spiffe://spike.ist/x", Operation: decision.SecretDestroy, Path: "a", Versions: []int{1, 2}, Allowed: true},
	} {
		if err := log.Write(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"time":"2026-01-02T02:04:05.000000006Z","request":"r1","caller":"spiffe://spike.ist/x","operation":"secret.get","path":"a/b","version":3,"decision":"allowed","by":"role superuser","result":"ok"}
{"time":"2026-01-02T02:04:05.000000006Z","request":"r2","caller":"spiffe://spike.ist/x","operation":"secret.put","path":"a\n\"b","decision":"denied","result":"access_unauthorized"}
{"time":"2026-01-02T02:04:05.000000006Z","request":"r3","caller":"spiffe://spike.ist/x","operation":"secret.destroy","path":"a","versions":[1,2],"decision":"allowed","result":"ok"}
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestAnEndlessPathIsCut(t *testing.T) {
	var b bytes.Buffer
	e := vault.Entry{Path: strings.Repeat("\x00", 1<<20)}
	if err := audit.New(&b).Write(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 8<<10 || !json.Valid(b.Bytes()) {
		t.Errorf("a line of %d bytes", b.Len())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestAFailureIsReported(t *testing.T) {
	if err := audit.New(broken{}).Write(t.Context(), vault.Entry{}); err == nil {
		t.Error("a line that could not be written passed for written")
	}
}

// line is the format of the log, as encoding/json writes it.
type line struct {
	Time      string `json:"time"`
	Request   string `json:"request"`
	Caller    string `json:"caller"`
	Operation string `json:"operation"`
	Path      string `json:"path,omitempty"`
	Version   int    `json:"version,omitempty"`
	Decision  string `json:"decision"`
	By        string `json:"by,omitempty"`
	Result    string `json:"result"`
}

func FuzzLine(f *testing.F) {
	f.Add("a/b", "policy p", "", 3, true)
	f.Add("\xff\u2028<\"\\\n", "", "api_not_found", -1, false)
	f.Fuzz(func(t *testing.T, path, by, result string, version int, allowed bool) {
		if len(path) > 512 || len(by) > 512 || len(result) > 512 {
			return
		}
		at := time.Unix(1700000000, 123456789)
		want := line{at.UTC().Format(time.RFC3339Nano), path, by, result, path, version, "denied", by, result}
		if allowed {
			want.Decision = "allowed"
		}
		if result == "" {
			want.Result = "ok"
		}
		plain, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		e := vault.Entry{Time: at, Request: path, Caller: by, Operation: vault.Operation(result), Path: path, Version: version,
			Allowed: allowed, By: by, Result: api.Code(result)}
		if err := audit.New(&b).Write(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if b.String() != string(plain)+"\n" {
			t.Errorf("got  %swant %s", b.String(), plain)
		}
	})
}

// tight takes so many bytes and is full then.
type tight struct {
	bytes.Buffer
	room int
}

func (w *tight) Write(b []byte) (int, error) {
	n, err := min(len(b), w.room), error(nil)
	if n < len(b) {
		err = errors.New("no space left")
	}
	w.room -= n
	w.Buffer.Write(b[:n])
	return n, err
}

func TestATornLineTakesNoOtherWithIt(t *testing.T) {
	w := &tight{room: 20}
	log := audit.New(w)
	for range 2 {
		if err := log.Write(t.Context(), vault.Entry{Caller: "torn"}); err == nil {
			t.Error("a torn line passed for written")
		}
	}
	w.room = 1 << 20
	for range 2 {
		if err := log.Write(t.Context(), vault.Entry{Caller: "whole"}); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
	if len(lines) != 3 || json.Valid([]byte(lines[0])) || !json.Valid([]byte(lines[1])) || !json.Valid([]byte(lines[2])) {
		t.Errorf("got %q", lines)
	}
}
