// Package paper has recovery shards as people keep them: one file each, with a
// head that says what it is and how many are needed.
package paper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/infile"
	"github.com/spiffe/spike/internal/shard"
)

// Set is every recovery shard of one root key.
type Set struct {
	Cluster, KeyID string
	Threshold      int // 0 when it is not known
	Made           time.Time
	Shards         map[int]shard.Value // by index, from 1
}

// Check says whether a set is one that can bring a cluster back.
func (s *Set) Check() error {
	if len(s.Shards) == 0 {
		return errors.New("there are no shards in it")
	}
	if len(s.Shards) < s.Threshold {
		return fmt.Errorf("%d shards are needed and there are only %d", s.Threshold, len(s.Shards))
	}
	seen := map[shard.Value]bool{{}: true} // no share is zero
	defer clear(seen)
	for i, v := range s.Shards {
		if i < 1 || i > 255 || seen[v] {
			return fmt.Errorf("shard %d is not a valid one", i)
		}
		seen[v] = true
	}
	return nil
}

// Wipe forgets the shards.
func (s *Set) Wipe() { clear(s.Shards) }

// Write writes the set to dir, a file per shard (mode 0600) in a folder that is
// its owner's alone, and returns the files in the order of their indexes. Without
// files, nothing has changed, unless the error is [ErrLeft]. With files the whole
// set is there, and an error says what could not be done after that.
func Write(dir string, set *Set, force bool) (files []string, err error) {
	return write(dir, set, force, syncFolder)
}

func write(dir string, set *Set, force bool, syncFolder func(string) error) (files []string, err error) {
	if err := set.Check(); err != nil {
		return nil, err
	}
	if err := CheckFolder(dir, force); err != nil {
		return nil, err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	fresh, err := os.MkdirTemp(parent, begun(dir)) // mode 0700
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	defer func() {
		// Once it has become dir, there is nothing to remove.
		if removed := os.RemoveAll(fresh); removed != nil {
			err = errors.Join(err, fmt.Errorf("%w in %s: %w", ErrLeft, fresh, removed))
		}
	}()
	for _, index := range slices.Sorted(maps.Keys(set.Shards)) {
		name := fmt.Sprintf("shard-%d.txt", index)
		content := set.page(index)
		err := writeFile(filepath.Join(fresh, name), content)
		clear(content)
		if err != nil {
			return nil, err
		}
		files = append(files, filepath.Join(dir, name))
	}
	if err := syncFolder(fresh); err != nil {
		return nil, err
	}
	older, err := replace(fresh, dir)
	if err != nil {
		return nil, err
	}
	return files, settle(dir, older, syncFolder)
}

// page is a file's content: remarks, and one line that [Read] and any program can
// take as it is. The caller wipes it.
func (s *Set) page(index int) []byte {
	needed := "as many as the cluster's threshold"
	if s.Threshold > 0 {
		needed = fmt.Sprintf("%d of %d", s.Threshold, len(s.Shards))
	}
	out := fmt.Appendf(nil, `# SPIKE recovery shard %d of %d
# cluster:   %s
# key:       %s
# index:     %d
# threshold: %s
# made:      %s
#
# Whoever has %s of these shards and the cluster's data can read every
# secret. Give each to a different person. To bring a cluster back, its holder
# runs: spike operator restore
`, index, len(s.Shards), s.Cluster, s.KeyID, index, needed, s.Made.UTC().Format(time.RFC3339), needed)
	value := s.Shards[index]
	line := shard.Line(index, &value, shard.Origin{Cluster: s.Cluster, KeyID: s.KeyID})
	clear(value[:])
	defer clear(line)
	// Room for the whole page at once leaves no shorter copy behind.
	page := make([]byte, 0, len(out)+len(line)+1)
	return append(append(append(page, out...), line...), '\n')
}

// writeFile writes a new file and waits until it is on disk.
func writeFile(name string, content []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// Head is what is known of a shard: its line says it, or the remarks above it.
type Head shard.Origin

// Note takes up what a line says, if it is a remark that says something.
func (h *Head) Note(line []byte) {
	if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
		return // of a shard no string may be made, which nobody can wipe
	}
	text := strings.TrimSpace(string(line))
	if cluster, ok := strings.CutPrefix(text, "# cluster:"); ok {
		*h = Head{Cluster: strings.TrimSpace(cluster)}
	}
	if key, ok := strings.CutPrefix(text, "# key:"); ok {
		h.KeyID = strings.TrimSpace(key)
	}
}

// Shard is one shard as it was read.
type Shard struct {
	Head
	Index int
	Value *shard.Value // in one place, however often the rest is copied
	From  string       // where it was read: a file and line
}

// Take reads a shard's line. What the line says of itself goes before the remarks
// above it, as they have no check.
func (s *Shard) Take(line []byte) error {
	index, value, of, err := shard.ParseLine(line)
	defer clear(value[:])
	if err != nil {
		return err
	}
	s.Index, *s.Value = index, value
	if of != (shard.Origin{}) {
		s.Head = Head(of)
	}
	return nil
}

// ErrMixed means that shards are not of one key of one cluster: they never bring
// anything back together.
var ErrMixed = errors.New("not of the same set")

// Alike returns an error unless all shards that say what they are of say the same. One
// that does not say it may be of any.
func Alike(shards []Shard) error {
	var first *Shard
	for i := range shards {
		s := &shards[i]
		switch {
		case s.Head == (Head{}):
		case first == nil:
			first = s
		case s.Cluster != first.Cluster && s.Cluster != "" && first.Cluster != "":
			return fmt.Errorf("%w: shard %d (from %s) is of another cluster than shard %d (from %s)",
				ErrMixed, s.Index, s.From, first.Index, first.From)
		case s.KeyID != first.KeyID && s.KeyID != "" && first.KeyID != "":
			return fmt.Errorf("%w: shard %d (from %s) is of another key than shard %d (from %s)",
				ErrMixed, s.Index, s.From, first.Index, first.From)
		}
	}
	return nil
}

// Wipe forgets shards. Copies that JSON and TLS made are out of reach.
func Wipe(shards []Shard) {
	for _, s := range shards {
		clear(s.Value[:])
	}
}

// maxPage is far more than a shard and any remarks about it.
const maxPage = 64 << 10

// Skip reports whether a line is empty or a remark.
func Skip(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#'
}

// Read reads the shards in r, one a line, without remarks. name is what errors
// call it; they never repeat a line. The caller wipes the shards.
func Read(r io.Reader, name string) (shards []Shard, err error) {
	place := name
	defer func() {
		if err != nil {
			Wipe(shards)
			shards, err = nil, fmt.Errorf("in %s: %w", place, err)
		}
	}()
	// All at once and in one place: a buffer that grows leaves copies behind.
	content := make([]byte, maxPage+1)
	defer clear(content)
	n, err := io.ReadFull(r, content)
	switch {
	case err == nil:
		return nil, fmt.Errorf("%w: it is larger than %d KiB", shard.ErrFormat, maxPage>>10)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	var head Head
	number := 0
	for line := range bytes.Lines(content[:n]) {
		number++
		if Skip(line) {
			head.Note(line)
			continue
		}
		place = fmt.Sprintf("%s, line %d", name, number)
		s := Shard{Head: head, Value: new(shard.Value), From: place}
		if err := s.Take(line); err != nil {
			return shards, err
		}
		shards = append(shards, s)
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("%w: there is no line spike:INDEX:HEX:CLUSTER:KEY:CHECK in it", shard.ErrFormat)
	}
	return shards, nil
}

// ReadFile reads the shards in a file. Where it is none, its name is not repeated:
// it may be the shard itself.
func ReadFile(name string) (shards []Shard, err error) {
	f, err := infile.Open(name)
	if err != nil {
		return nil, err
	}
	// It is only read, so that nothing can go wrong here.
	defer func() { _ = f.Close() }()
	return Read(f, strings.TrimSpace(name))
}
