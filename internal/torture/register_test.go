package torture

import (
	"slices"
	"testing"
	"time"
)

// TestModel has histories in which one thing is done after the other. Those that
// Nexus may have are explained, and those that it must not are noticed.
func TestModel(t *testing.T) {
	put := func(value string, version int) event {
		return event{in: input{kind: opPut, value: value, cas: anyVersion}, out: output{result: done, version: version}}
	}
	did := func(k kind, version int) event {
		return event{in: input{kind: k, version: version}, out: output{result: done}}
	}
	lost := func(k kind, version int) event {
		return event{in: input{kind: k, version: version}, out: output{result: unknown}}
	}
	got := func(version int, value string) event {
		return event{in: input{kind: opGet, version: version}, out: output{result: done, value: value}}
	}
	none := func(version int) event {
		return event{in: input{kind: opGet, version: version}, out: output{result: notFound}}
	}
	seen := func(current int, text string) event {
		return event{in: input{kind: opMetadata}, out: output{result: done, version: current, seen: text}}
	}
	listed := func(k kind, is bool) event {
		return event{in: input{kind: k}, out: output{result: done, listed: is}}
	}
	two := []event{put("a", 1), put("b", 2)}
	for _, c := range []struct {
		name  string
		more  []event
		wrong bool
	}{
		{"values stay", []event{got(1, "a"), got(0, "b"), seen(2, "1:false:false 2:false:false "), listed(opPage, true)}, false},
		{"a value of nobody", []event{got(0, "c")}, true},
		{"not listed", []event{listed(opList, false)}, true},
		{"not in its page", []event{listed(opPage, false)}, true},
		{"deleted and back", []event{did(opDelete, 1), none(1), did(opUndelete, 1), got(1, "a")}, false},
		{"deleted and read", []event{did(opDelete, 1), got(1, "a")}, true},

		{"destroyed", []event{did(opDestroy, 1), none(1), got(2, "b"), seen(2, "2:false:false ")}, false},
		{"destroyed and read", []event{did(opDestroy, 1), got(1, "a")}, true},
		{"destroyed and in the list", []event{did(opDestroy, 1), seen(2, "1:true:true 2:false:false ")}, true},
		{"destroyed and back", []event{did(opDestroy, 2), did(opUndelete, 2), got(2, "b")}, true},
		{"destroyed, deleted, and back", []event{did(opDelete, 2), did(opDestroy, 2), did(opUndelete, 2), got(2, "b")}, true},
		{"destroyed twice, and what was not there", []event{did(opDestroy, 1), did(opDestroy, 1), did(opDestroy, 9), got(2, "b")}, false},
		{"the current one destroyed", []event{did(opDestroy, 0), none(0), seen(2, "1:false:false 2:true:true "), listed(opList, true), put("c", 3)}, false},
		{"and its place gone", []event{did(opDestroy, 2), seen(1, "1:false:false ")}, true},
		{"and its number given again", []event{did(opDestroy, 2), put("c", 2)}, true},
		{"and gone after the next", []event{did(opDestroy, 2), put("c", 3), seen(3, "1:false:false 3:false:false ")}, false},
		{"and there after the next", []event{did(opDestroy, 2), put("c", 3), seen(3, "1:false:false 2:true:true 3:false:false ")}, true},
		{"perhaps destroyed, it was", []event{lost(opDestroy, 1), none(1)}, false},
		{"perhaps destroyed, it was not", []event{lost(opDestroy, 1), got(1, "a")}, false},
		{"perhaps destroyed, first it was", []event{lost(opDestroy, 1), none(1), got(1, "a")}, true},
	} {
		h := newHistory()
		for i, e := range slices.Concat(two, c.more) {
			e.in.path = "p"
			e.called, e.back = time.Duration(2*i), time.Duration(2*i+1)
			h.add(e)
		}
		if err := h.linearizable(); (err != nil) != c.wrong {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
