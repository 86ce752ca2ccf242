package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
	"github.com/spiffe/spike/app/pilot/internal/paper"
)

// TestShardsThatAreThere checks that no failure calls shards missing that are there,
// in their place or in another.
func TestShardsThatAreThere(t *testing.T) {
	broken := errors.New("input/output error")
	left := fmt.Errorf("%w in /keys/.paper.new-1: %w", paper.ErrLeft, broken)
	for name, test := range map[string]struct {
		err  error
		what string
		next string
	}{
		"in place":             {explainUnsettled(broken), "The recovery shards were written, but", "can be used"},
		"in place, and before": {explainUnsettled(left), "The recovery shards were written, but", "Remove what was left"},
		"elsewhere":            {explainPaper(left), "The recovery shards were not put into their place.", "Remove what was left"},
		"nowhere":              {explainPaper(broken), "No recovery shards were written.", ""},
	} {
		var f *Failure
		if !errors.As(test.err, &f) || f.Code != Failed || !errors.Is(f, broken) {
			t.Errorf("%s: %#v", name, test.err)
			continue
		}
		if !strings.HasPrefix(f.What, test.what) || !strings.Contains(strings.Join(f.Next, "\n"), test.next) || !strings.Contains(f.Why, "input/output error") {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// TestFilesThatAreThere has a backup whose folder alone could not be written to disk,
// and one that has no name.
func TestFilesThatAreThere(t *testing.T) {
	broken := errors.New("input/output error")
	for what, err := range map[string]error{
		"The backup was made, but a loss of power could undo it.": fmt.Errorf("%w: %w", newfile.ErrUnsettled, broken),
		"No backup was made.": broken,
	} {
		var f *Failure
		got := uncommitted("No backup was made.", "The backup was made", "/mnt/monday", err)
		if !errors.As(got, &f) || f.What != what || f.Code != Failed || !errors.Is(got, broken) {
			t.Errorf("%v: %#v", err, got)
		}
		if there := strings.Contains(strings.Join(f.Next, "\n"), "/mnt/monday"); there != errors.Is(err, newfile.ErrUnsettled) {
			t.Errorf("%v: %q", err, f.Next)
		}
	}
}
