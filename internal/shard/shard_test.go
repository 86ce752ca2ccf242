package shard_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/shard"
)

func sample() (v shard.Value) {
	for i := range v {
		v[i] = byte(200 + i)
	}
	return v
}

func TestJSONIsNumbers(t *testing.T) {
	v := sample()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(out), "[200,201,202,") || strings.Count(string(out), ",") != 31 {
		t.Errorf("got %s", out)
	}
	var back shard.Value
	if err := json.Unmarshal(out, &back); err != nil || back != v {
		t.Errorf("did not come back: %v", err)
	}
}

func TestJSONRefusesAnythingElse(t *testing.T) {
	numbers := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	for _, in := range []string{
		numbers(0), numbers(31), numbers(33), `"` + strings.Repeat("ab", 32) + `"`, "{}", "7",
		strings.Replace(numbers(32), "1", "256", 1), strings.Replace(numbers(32), "1", "-1", 1),
		strings.Replace(numbers(32), "1", "01", 1), strings.Replace(numbers(32), "1", "1000", 1),
		strings.Replace(numbers(32), "1", " ", 1), strings.Replace(numbers(32), "1", "1 1", 1),
		strings.Replace(numbers(32), "1", "1.5", 1), strings.Replace(numbers(32), "1", "null", 1),
	} {
		var v shard.Value
		if err := json.Unmarshal([]byte(in), &v); err == nil {
			t.Errorf("%s was accepted", in)
		}
	}
}

func TestValueDoesNotPrint(t *testing.T) {
	v := sample()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
		for _, thing := range []any{v, &v, struct{ V shard.Value }{v}} {
			out := fmt.Sprintf(verb, thing)
			if strings.Contains(strings.ToLower(out), "c8c9") || strings.Contains(out, "200") {
				t.Errorf("%s shows it: %s", verb, out)
			}
		}
	}
}

func FuzzJSON(f *testing.F) {
	v := sample()
	out, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(out)
	f.Add([]byte("[ 1,\t2 ]"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var v shard.Value
		if !json.Valid(in) || json.Unmarshal(in, &v) != nil {
			return
		}
		var loose []int
		if err := json.Unmarshal(in, &loose); err != nil || len(loose) != shard.Size {
			t.Fatalf("%s was accepted", in)
		}
		for i := range loose {
			if loose[i] != int(v[i]) {
				t.Errorf("number %d of %s is %d", i, in, v[i])
			}
		}
	})
}
