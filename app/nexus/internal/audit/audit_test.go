package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
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

// held is a writer whose first call lasts until it is let go; after that, it takes
// room bytes.
type held struct {
	tight
	calls   int
	entered chan struct{}
	letGo   chan struct{}
}

func (w *held) Write(b []byte) (int, error) {
	w.calls++
	if w.calls == 1 {
		close(w.entered)
		<-w.letGo
		return w.Buffer.Write(b)
	}
	return w.tight.Write(b)
}

// together writes one line, and while that is under way so many others, each with a
// path of as many letters. It returns how those ended.
func together(t *testing.T, w *held, others int) (errs []error) {
	t.Helper()
	w.entered, w.letGo = make(chan struct{}), make(chan struct{})
	log := audit.New(w)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := log.Write(t.Context(), vault.Entry{Caller: "first"}); err != nil {
			t.Error(err)
		}
	})
	<-w.entered
	errs = make([]error, others)
	for i := range others {
		wg.Go(func() { errs[i] = log.Write(t.Context(), vault.Entry{Path: "a"}) })
	}
	for log.Gathered() < others {
		time.Sleep(time.Millisecond)
	}
	close(w.letGo)
	wg.Wait()
	return errs
}

func TestThoseWhoComeTogetherShareACall(t *testing.T) {
	w := &held{tight: tight{room: 1 << 20}}
	for _, err := range together(t, w, 20) {
		if err != nil {
			t.Error(err)
		}
	}
	if lines := bytes.Count(w.Bytes(), []byte("}\n")); w.calls != 2 || lines != 21 {
		t.Errorf("%d calls for %d lines", w.calls, lines)
	}
}

// TestWhoseLineIsNotWhole has room for three lines and a half: each caller is told
// of its own.
func TestWhoseLineIsNotWhole(t *testing.T) {
	var one bytes.Buffer
	if err := audit.New(&one).Write(t.Context(), vault.Entry{Path: "a"}); err != nil {
		t.Fatal(err)
	}
	w := &held{tight: tight{room: one.Len() * 7 / 2}}
	failed := 0
	for _, err := range together(t, w, 10) {
		if err != nil {
			failed++
		}
	}
	if failed != 7 {
		t.Errorf("%d of 10 callers were told that their line is not whole, want 7", failed)
	}
}

// TestManyAtOnce has callers that nothing holds up: no line is lost, torn or mixed
// with another.
func TestManyAtOnce(t *testing.T) {
	var b bytes.Buffer
	log := audit.New(&b)
	const callers, each = 8, 200
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				if err := log.Write(t.Context(), vault.Entry{Path: strings.Repeat("p", i), Version: 1 + c*each + i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for text := range strings.Lines(b.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || len(l.Path) != (l.Version-1)%each {
			t.Fatalf("%q: %v", text, err)
		}
		seen[l.Version] = true
	}
	if len(seen) != callers*each {
		t.Errorf("%d lines, want %d", len(seen), callers*each)
	}
}

func TestTimes(t *testing.T) {
	at := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	var list []time.Time
	var want string
	for _, d := range []time.Duration{0, 1, 10, 123_456_789, 120 * time.Millisecond, 999_999_999, time.Second, 0, 24 * time.Hour} {
		list = append(list, at.Add(d).In(time.FixedZone("east", 3600)))
		want += at.Add(d).Format(time.RFC3339Nano) + "\n"
	}
	if got := audit.Times(list...); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
