package torture

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

const page = 4096

// edit changes the bytes of a file in one random way, and says how.
func edit(r *rand.Rand, file []byte) (string, []byte) {
	b := bytes.Clone(file)
	at := r.IntN(len(b))
	pages := len(b) / page
	switch r.IntN(12) {
	case 0:
		n := 1 + r.IntN(min(page, len(b)-at))
		clear(b[at : at+n])
		return fmt.Sprintf("%d zeros at %d", n, at), b
	case 1:
		return fmt.Sprintf("cut to %d bytes", at), b[:at]
	case 2:
		for range 1 + r.IntN(2*page) {
			b = append(b, byte(r.Uint32()))
		}
		return fmt.Sprintf("%d bytes more", len(b)-len(file)), b
	case 3:
		from, to := r.IntN(pages), r.IntN(pages)
		copy(b[to*page:][:page], file[from*page:])
		copy(b[from*page:][:page], file[to*page:])
		return fmt.Sprintf("pages %d and %d swapped", from+1, to+1), b
	case 4:
		from, to := r.IntN(pages), r.IntN(pages)
		copy(b[to*page:][:page], file[from*page:][:page])
		return fmt.Sprintf("page %d over page %d", from+1, to+1), b
	case 5, 6, 7:
		n := 1 + r.IntN(min(64, len(b)-at))
		for i := range n {
			b[at+i] = byte(r.Uint32())
		}
		return fmt.Sprintf("%d random bytes at %d", n, at), b
	case 8:
		// Where the structure of a page is, which is less than the content.
		at = r.IntN(pages)*page + r.IntN(24)
	}
	bit := byte(1) << r.IntN(8)
	b[at] ^= bit
	return fmt.Sprintf("bit %#02x at %d", bit, at), b
}

// TestEditedFile edits the bytes of a database. Either it is refused, and then
// left as it is, or the edit was where nothing is kept.
func TestEditedFile(t *testing.T) {
	r := random(t)
	c := newCluster(t)
	original := filepath.Join(t.TempDir(), "store")
	c.fill(t, original)
	v := c.mustOpen(t, original)
	want := c.mustContent(t, v)
	must(t, v.Close())
	whole := files(t, original)

	folder := filepath.Join(t.TempDir(), "edited")
	sentences := map[string]int{}
	for n := range *edits {
		how, edited := edit(r, whole[0])
		write(t, folder, [2][]byte{edited})
		before := files(t, folder)
		v, err := c.open(t.Context(), folder)
		if err != nil {
			if err := refused(err); err != nil {
				t.Errorf("edit %d, %s: %v", n, how, err)
			}
			if err := same(files(t, folder), before); err != nil {
				t.Errorf("edit %d, %s: it was refused, and changed: %v", n, how, err)
			}
			sentences[shape(err, folder)]++
			continue
		}
		if v.Header() == nil {
			t.Errorf("edit %d, %s: it passes for a new store", n, how)
			must(t, v.Close())
			continue
		}
		sentences["(served)"]++
		if err := c.works(t, folder, v, want); err != nil {
			t.Errorf("edit %d, %s: %v", n, how, err)
		}
	}
	var list []string
	for sentence, n := range sentences {
		list = append(list, fmt.Sprintf("%4d %s", n, sentence))
	}
	slices.Sort(list)
	slices.Reverse(list)
	for _, line := range list {
		t.Log(line)
	}
	if sentences["(served)"] == *edits {
		t.Error("nothing was refused")
	}
}

// shape is an error's sentence without what differs each time.
func shape(err error, folder string) string {
	if errors.Is(err, vault.ErrWrongKey) {
		return vault.ErrWrongKey.Error()
	}
	text := regexp.MustCompile(regexp.QuoteMeta(folder)+`/?`).ReplaceAllString(err.Error(), "")
	text = regexp.MustCompile(`\d+`).ReplaceAllString(text, "N")
	return text[:min(len(text), 130)]
}
