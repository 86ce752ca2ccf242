package torture

import (
	"fmt"
	"slices"
	"time"
)

// neverUnseen looks for what was seen and then not any more, without a model: it
// is simple enough to be believed, and covers what the model leaves out, which is
// lists over all paths. Reads are put in the order in which they were answered;
// one that was called after another came back must not know less.
func (h *history) neverUnseen() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.versionsGrow(); err != nil {
		return err
	}
	if err := h.valuesStay(); err != nil {
		return err
	}
	return h.listsGrow()
}

// versionsGrow checks that a put gets a higher number than any that was told
// before it was called, and that metadata knows that number.
func (h *history) versionsGrow() error {
	type moment struct {
		event   *event
		version int
	}
	known := map[string][]moment{} // by path, in the order of their answers
	events := h.byAnswer()
	for _, e := range events {
		if e.out.result != done || e.in.kind == opList || e.in.kind == opPage {
			continue
		}
		if number := e.out.version; number > 0 {
			list := known[e.in.path]
			if len(list) == 0 || list[len(list)-1].version < number {
				known[e.in.path] = append(list, moment{e, number})
			}
		}
	}
	for _, e := range events {
		if e.out.result != done && e.out.result != notFound {
			continue
		}
		// The highest version whose answer had come when this one was called.
		list := known[e.in.path]
		n, _ := slices.BinarySearchFunc(list, e.called, func(m moment, at time.Duration) int {
			return int(m.event.back - at)
		})
		if n == 0 {
			continue
		}
		before := list[n-1]
		switch number := e.out.version; {
		case e.in.kind == opPut && number <= before.version, e.in.kind == opMetadata && number < before.version:
			return fmt.Errorf("version %d of %s was seen by %+v, and then unseen by %+v", before.version, e.in.path, *before.event, *e)
		}
	}
	return nil
}

func (h *history) byAnswer() []*event {
	list := make([]*event, len(h.events))
	for i := range h.events {
		list[i] = &h.events[i]
	}
	slices.SortFunc(list, func(a, b *event) int { return int(a.back - b.back) })
	return list
}

// valuesStay checks that a version's value never changes, and is what was put.
func (h *history) valuesStay() error {
	type place struct {
		path    string
		version int
	}
	values := map[place]*event{}
	put := map[string]*event{}
	for i := range h.events {
		if e := &h.events[i]; e.in.kind == opPut {
			put[e.in.value] = e
		}
	}
	for i := range h.events {
		e := &h.events[i]
		var at place
		var value string
		switch {
		case e.out.result != done:
			continue
		case e.in.kind == opPut:
			at, value = place{e.in.path, e.out.version}, e.in.value
		case e.in.kind == opGet:
			at, value = place{e.in.path, e.in.version}, e.out.value
			if p := put[value]; p == nil || p.in.path != e.in.path || p.called > e.back {
				return fmt.Errorf("%+v found what nobody had put there", *e)
			}
		}
		if at.version == 0 {
			continue
		}
		other := values[at]
		if other == nil {
			values[at] = e
		} else if was := other.in.value + other.out.value; was != value {
			return fmt.Errorf("version %d of %s has two values: %+v and %+v", at.version, at.path, *other, *e)
		}
	}
	return nil
}

// listsGrow checks that a list has every path that was listed, or whose put was
// answered, before it was asked for: no path goes away in these histories.
func (h *history) listsGrow() error {
	type sight struct {
		at   time.Duration
		path string
	}
	first := map[string]time.Duration{}
	saw := func(path string, at time.Duration) {
		if old, ok := first[path]; !ok || at < old {
			first[path] = at
		}
	}
	for i := range h.events {
		if e := &h.events[i]; e.in.kind == opPut && e.out.result == done {
			saw(e.in.path, e.back)
		}
	}
	for _, l := range h.lists {
		for path := range l.paths {
			saw(path, l.back)
		}
	}
	sights := make([]sight, 0, len(first))
	for path, at := range first {
		sights = append(sights, sight{at, path})
	}
	for _, l := range h.lists {
		for _, s := range sights {
			if s.at < l.called && l.tells(s.path) && !l.paths[s.path] {
				return fmt.Errorf("%s was there at %s, and is not in the list that was asked for at %s", s.path, s.at, l.called)
			}
		}
	}
	return nil
}
