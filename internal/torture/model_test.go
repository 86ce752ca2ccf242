package torture

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// keptVersions is Nexus's default.
const keptVersions = 10

// register is what the model knows of one path: a value with versions. It is
// never changed, and equal to another exactly when their text is.
type register struct {
	versions []version // ascending; none before the first put
	text     string
}

type version struct {
	number    int
	value     string
	deleted   bool
	destroyed bool // then it has no value, and is deleted
}

func newRegister(versions []version) *register {
	var text strings.Builder
	for _, v := range versions {
		fmt.Fprintf(&text, "%d=%s", v.number, v.value)
		if v.deleted {
			text.WriteByte('!')
		}
		if v.destroyed {
			text.WriteByte('x')
		}
		text.WriteByte(' ')
	}
	return &register{versions, text.String()}
}

func (s *register) current() int {
	if len(s.versions) == 0 {
		return 0
	}
	return s.versions[len(s.versions)-1].number
}

// find returns the index of a version, or -1; 0 is the current one.
func (s *register) find(number int) int {
	if number == 0 {
		return len(s.versions) - 1
	}
	return slices.IndexFunc(s.versions, func(v version) bool { return v.number == number })
}

func (s *register) put(value string) *register {
	// A destroyed version was there for its number alone, which a higher one has now.
	kept := slices.DeleteFunc(slices.Clone(s.versions), func(v version) bool { return v.destroyed })
	kept = kept[max(0, len(kept)-keptVersions+1):]
	return newRegister(append(kept, version{number: s.current() + 1, value: value}))
}

func (s *register) mark(number int, deleted bool) *register {
	i := s.find(number)
	if i < 0 || s.versions[i].deleted == deleted || s.versions[i].destroyed {
		return s
	}
	versions := slices.Clone(s.versions)
	versions[i].deleted = deleted
	return newRegister(versions)
}

// destroy takes a version away for good. The current one's number stays taken.
func (s *register) destroy(number int) *register {
	i := s.find(number)
	if i < 0 || s.versions[i].destroyed {
		return s
	}
	versions := slices.Clone(s.versions)
	versions[i] = version{number: versions[i].number, deleted: true, destroyed: true}
	if i < len(versions)-1 {
		versions = slices.Delete(versions, i, i+1)
	}
	return newRegister(versions)
}

// describe is what metadata tells of a path: its versions, and which of them
// are deleted or destroyed.
func (s *register) describe() string {
	var text strings.Builder
	for _, v := range s.versions {
		describeVersion(&text, v.number, v.deleted, v.destroyed)
	}
	return text.String()
}

func describeVersion(text *strings.Builder, number int, deleted, destroyed bool) {
	fmt.Fprintf(text, "%d:%t:%t ", number, deleted, destroyed)
}

// next returns the states in which in can have left s, when it was answered out:
// none when that cannot be, two when it is not known whether it happened.
func (s *register) next(in input, out output) []*register {
	after, want := s.apply(in)
	switch {
	case out.result == unknown && after != s:
		return []*register{s, after}
	case out.result == unknown:
		return []*register{s}
	case out == want:
		return []*register{after}
	}
	return nil
}

// apply is the specification: what becomes of s, and what is answered.
func (s *register) apply(in input) (*register, output) {
	exists := len(s.versions) > 0
	switch in.kind {
	case opList, opPage:
		return s, output{result: done, listed: exists}
	case opPut:
		if in.cas != anyVersion && in.cas != s.current() {
			return s, output{result: conflict}
		}
		after := s.put(in.value)
		return after, output{result: done, version: after.current()}
	}
	if !exists {
		return s, output{result: notFound}
	}
	switch in.kind {
	case opDelete:
		return s.mark(in.version, true), output{result: done}
	case opUndelete:
		return s.mark(in.version, false), output{result: done}
	case opDestroy:
		return s.destroy(in.version), output{result: done}
	case opMetadata:
		return s, output{result: done, version: s.current(), seen: s.describe()}
	}
	i := s.find(in.version)
	if i < 0 || s.versions[i].deleted {
		return s, output{result: notFound}
	}
	return s, output{result: done, value: s.versions[i].value}
}

// model is register.next for porcupine. It follows all states that are possible at
// once: searching through what may have happened one by one would take forever.
func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{newRegister(nil)} },
		Step: func(state, in, out any) []any {
			var next []any
			for _, s := range state.(*register).next(in.(input), out.(output)) {
				next = append(next, s)
			}
			return next
		},
		Equal: func(a, b any) bool { return a.(*register).text == b.(*register).text },
		Hash: func(state any) uint64 {
			h := fnv.New64a()
			// Writing to a hash never fails.
			_, _ = h.Write([]byte(state.(*register).text))
			return h.Sum64()
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
		DescribeState:     func(state any) string { return state.(*register).text },
	}
	return m.ToModel()
}

// checkTime is more than the history of any path takes. Running out of it is a
// failure: a history that cannot be checked proves nothing.
const checkTime = time.Minute

// linearizable returns nil if the history can be explained. Otherwise it says
// which path cannot.
func (h *history) linearizable() error {
	m := model()
	for path, events := range h.byPath() {
		operations := make([]porcupine.Operation, 0, len(events))
		for _, e := range events {
			operations = append(operations, porcupine.Operation{
				ClientId: e.client, Input: e.in, Output: e.out, Call: int64(e.called), Return: int64(e.back),
			})
		}
		verdict, info := porcupine.CheckOperationsVerbose(m, operations, checkTime)
		if verdict != porcupine.Ok {
			return fmt.Errorf("%s: the history of %d operations is %s; it can be explained up to here:\n%s",
				path, len(events), verdict, explained(operations, info))
		}
	}
	return nil
}

// explained shows the last operations of the longest explanation, and those that
// could have come next.
func explained(part []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, list := range partition {
			if len(list) > len(longest) {
				longest = list
			}
		}
	}
	in := map[string]bool{}
	key := func(o porcupine.Operation) string { return fmt.Sprint(o.ClientId, o.Call) }
	for _, o := range longest {
		in[key(o)] = true
	}
	var text strings.Builder
	show := func(mark string, o porcupine.Operation) {
		fmt.Fprintf(&text, "%s %12d to %12d client %d: %+v -> %+v\n", mark, o.Call, o.Return, o.ClientId, o.Input, o.Output)
	}
	for _, o := range longest[max(0, len(longest)-6):] {
		show("  ", o)
	}
	slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	left := 0
	for _, o := range part {
		if !in[key(o)] && left < 8 {
			left++
			show("? ", o)
		}
	}
	return text.String()
}
