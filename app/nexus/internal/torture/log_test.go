package torture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/spike/internal/api"
)

// moment is a store after a commit.
type moment struct {
	sequence uint64
	content  string
	log      int64 // bytes of the log that make it so
}

// commits makes a store that has all of its commits but the first few in the log,
// and returns its files, taken while it was open, and every moment in the log.
func commits(t *testing.T, c *cluster) (whole [2][]byte, moments []moment) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "store")
	c.fill(t, folder)
	v := c.mustOpen(t, folder)
	note := func() {
		t.Helper()
		info, err := os.Stat(filepath.Join(folder, journal))
		must(t, err)
		_, sequence, _ := v.Size()
		moments = append(moments, moment{sequence, c.mustContent(t, v), info.Size()})
	}
	note()
	for n := range 40 {
		path := fmt.Sprintf("log/%d", n%7)
		switch {
		case n%9 == 8:
			must(t, v.DeleteSecret(t.Context(), admin, &api.SecretVersionsRequest{Path: path}))
		default:
			put(t, v, path, fmt.Sprintf("%d %0*d", n, n*n*7%9000, 0))
		}
		note()
	}
	whole = files(t, copied(t, folder))
	must(t, v.Close())
	return whole, moments
}

// TestCutLog cuts the log anywhere. The store opens as what was committed wholly
// before the cut, and not a commit more or less.
func TestCutLog(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	whole, moments := commits(t, c)
	folder := filepath.Join(t.TempDir(), "cut")
	for range *cuts {
		at := r.IntN(len(whole[1]) + 1)
		want := moments[0]
		for _, m := range moments {
			if m.log <= int64(at) {
				want = m
			}
		}
		write(t, folder, [2][]byte{whole[0], whole[1][:at]})
		v, err := c.open(t.Context(), folder)
		if err != nil {
			t.Errorf("the log cut to %d of %d bytes: %v", at, len(whole[1]), err)
			continue
		}
		if _, sequence, _ := v.Size(); sequence != want.sequence {
			t.Errorf("the log cut to %d of %d bytes is at commit %d, not %d", at, len(whole[1]), sequence, want.sequence)
		}
		if err := c.works(t, folder, v, want.content); err != nil {
			t.Errorf("the log cut to %d of %d bytes: %v", at, len(whole[1]), err)
		}
	}
}

// TestEditedLog edits the log anywhere. The store opens as it was after some
// commit, or is refused.
func TestEditedLog(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	whole, moments := commits(t, c)
	folder := filepath.Join(t.TempDir(), "edited")
	opened := map[uint64]bool{}
	for n := range *edits / 2 {
		how, edited := edit(r, whole[1])
		write(t, folder, [2][]byte{bytes.Clone(whole[0]), edited})
		v, err := c.open(t.Context(), folder)
		if err != nil {
			if err := refused(err); err != nil {
				t.Errorf("edit %d, %s: %v", n, how, err)
			}
			continue
		}
		_, sequence, _ := v.Size()
		opened[sequence] = true
		var want string
		for _, m := range moments {
			if m.sequence == sequence {
				want = m.content
			}
		}
		if err := c.works(t, folder, v, want); err != nil {
			t.Errorf("edit %d, %s: %v", n, how, err)
		}
	}
	if len(opened) < 2 {
		t.Errorf("no edit had any effect, or all had the same: it opened at %v", opened)
	}
}
