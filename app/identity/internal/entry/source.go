package entry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// Source is the files that a provider was given, in order.
type Source struct {
	files []string
	owner uint32
	seen  digest
}

// digest sums up what a reading of all files gave: names, contents, or what was
// wrong with them. It is by content, since an edit within one tick of the file
// system's clock leaves the times as they were.
type digest [sha256.Size]byte

// NewSource names the files; owner is the provider's uid, which entries without
// one mean. Nothing is read yet.
func NewSource(files []string, owner uint32) *Source {
	return &Source{files: files, owner: owner}
}

// Load reads and checks all files.
func (s *Source) Load() (*Set, error) {
	contents, err := s.read()
	s.seen = sum(contents, err)
	if err != nil {
		return nil, err
	}
	return s.parse(contents)
}

// Watch looks at the files every interval until ctx ends and gives every new,
// valid set to update. A bad edit is logged once and changes nothing. It must
// follow a Load, and not run beside one.
func (s *Source) Watch(ctx context.Context, interval time.Duration, logger *slog.Logger, update func(*Set)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := s.seen
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		contents, err := s.read()
		now := sum(contents, err)
		// An editor may truncate and then write. Only what reads the same twice
		// counts, so that half a file never takes identities away.
		settled := now == last
		last = now
		if !settled || now == s.seen {
			continue
		}
		s.seen = now
		var set *Set
		if err == nil {
			set, err = s.parse(contents)
		}
		if err != nil {
			logger.Error("the entries were edited and cannot be used; the last good ones stay in force until this is put right", "error", err)
			continue
		}
		logger.Info("entries reloaded", "entries", len(set.Entries), "trust_domain", set.TrustDomain.Name(), "ttl", set.TTL)
		update(set)
	}
}

// read returns the contents in the order of the files. It reports every file that
// cannot be read or trusted, not the first alone.
func (s *Source) read() ([][]byte, error) {
	contents := make([][]byte, 0, len(s.files))
	var errs []error
	for i, name := range s.files {
		content, err := readFile(name)
		if err != nil {
			errs = append(errs, err)
		}
		for _, other := range s.files[:i] {
			if filepath.Clean(other) == filepath.Clean(name) {
				errs = append(errs, fmt.Errorf("%s: the file is named twice", name))
				break
			}
		}
		contents = append(contents, content)
	}
	return contents, errors.Join(errs...)
}

func (s *Source) parse(contents [][]byte) (*Set, error) {
	docs := make([]*document, 0, len(contents))
	var errs []error
	for i, content := range contents {
		doc, err := decode(s.files[i], content)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		docs = append(docs, doc)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return merge(docs, s.owner)
}

func sum(contents [][]byte, err error) digest {
	h := sha256.New()
	for _, c := range contents {
		fmt.Fprintf(h, "%d:", len(c))
		h.Write(c)
	}
	if err != nil {
		fmt.Fprintf(h, "error: %v", err)
	}
	return digest(h.Sum(nil))
}
