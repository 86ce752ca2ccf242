package entry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"
)

const (
	// minTTL leaves a client a second to take up a new SVID before the old one
	// ends: certificates count in whole seconds and rotation is at half life.
	minTTL     = 2 * time.Second
	maxTTL     = 24 * time.Hour
	defaultTTL = time.Hour

	// maxEntries keeps an answer that holds every SVID below the 4 MiB that
	// stock gRPC clients accept.
	maxEntries = 1000

	// maxIDLength is the limit that the SPIFFE ID specification sets.
	maxIDLength = 2048
)

// document is one file, decoded and checked on its own.
type document struct {
	name string

	// trustDomain and ttl are zero when the file does not give them.
	trustDomain spiffeid.TrustDomain
	ttl         time.Duration

	// The lines on which they stand.
	trustDomainLine, ttlLine int

	entries []rawEntry
}

// rawEntry is an entry whose trust domain and provider are not known yet.
type rawEntry struct {
	line int
	id   string
	path string
	uid  *uint32
	gid  *uint32
}

// decoder walks the YAML tree itself rather than decoding into structs: this way
// every complaint carries its line, unknown and doubled keys are refused in
// words that name the key, and no alias is ever expanded.
type decoder struct {
	name string
	errs []error
}

// decode parses one file. name stands in every error and its folder is where
// relative paths start. All that is wrong is reported together.
func decode(name string, content []byte) (*document, error) {
	d := &decoder{name: name}
	root, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	doc := &document{name: name}
	keys := d.mapping(root, "the file", "trust_domain", "ttl", "entries")
	if n := keys["trust_domain"]; n != nil {
		doc.trustDomainLine = n.Line
		if s, ok := d.scalar(n, "trust_domain"); ok {
			if doc.trustDomain, err = trustDomain(s); err != nil {
				d.complain(n, "%v", err)
			}
		}
	}
	if n := keys["ttl"]; n != nil {
		doc.ttlLine = n.Line
		if s, ok := d.scalar(n, "ttl"); ok {
			doc.ttl = d.ttl(n, s)
		}
	}
	if n := keys["entries"]; n != nil {
		doc.entries = d.entries(n)
	}
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	return doc, nil
}

// parse returns the tree of the one document that a file may hold. A second one
// would be dropped silently, with the entries in it.
func parse(content []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; it needs at least a list of entries")
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the first YAML document; put all entries into one")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("this is not a YAML document")
	}
	return doc.Content[0], nil
}

func (d *decoder) complain(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %s", d.name, n.Line, fmt.Sprintf(format, args...)))
}

// mapping returns the values by key, and nil after a complaint.
func (d *decoder) mapping(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		d.complain(n, "%s must be a mapping with the keys %s", what, strings.Join(known, ", "))
		return nil
	}
	values := make(map[string]*yaml.Node, len(known))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			d.complain(key, "unknown key %q; %s may have %s", key.Value, what, strings.Join(known, ", "))
		case values[key.Value] != nil:
			d.complain(key, "%s is given twice", key.Value)
		default:
			values[key.Value] = value
		}
	}
	return values
}

// scalar returns a single value as it was written, and false after a complaint.
// Quoted or not makes no difference, so that types are decided here and not by
// YAML's rules.
func (d *decoder) scalar(n *yaml.Node, key string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.complain(n, "%s must be a single value, written out", key)
	case n.Value == "" || n.Tag == "!!null":
		d.complain(n, "%s is empty; give a value or take the key out", key)
	default:
		return n.Value, true
	}
	return "", false
}

func trustDomain(s string) (spiffeid.TrustDomain, error) {
	// The library also takes a whole SPIFFE ID, whose path it drops silently.
	if strings.Contains(s, "/") {
		return spiffeid.TrustDomain{}, fmt.Errorf("trust_domain %q must be a bare name such as spike.ist", s)
	}
	td, err := spiffeid.TrustDomainFromString(s)
	if err != nil {
		return spiffeid.TrustDomain{}, fmt.Errorf("trust_domain %q is not a trust domain name such as spike.ist: %w", s, err)
	}
	return td, nil
}

func (d *decoder) ttl(n *yaml.Node, s string) time.Duration {
	ttl, err := time.ParseDuration(s)
	if err != nil {
		d.complain(n, "ttl %q is not a duration; write for example 30s, 10m or 1h", s)
		return 0
	}
	if ttl < minTTL || ttl > maxTTL {
		d.complain(n, "ttl %s is outside %s to %s", ttl, minTTL, maxTTL)
		return 0
	}
	return ttl
}

func (d *decoder) entries(n *yaml.Node) []rawEntry {
	if n.Kind != yaml.SequenceNode {
		d.complain(n, "entries must be a list; begin each entry with \"- id:\"")
		return nil
	}
	list := make([]rawEntry, 0, len(n.Content))
	for _, item := range n.Content {
		list = append(list, d.entry(item))
	}
	return list
}

func (d *decoder) entry(n *yaml.Node) rawEntry {
	e := rawEntry{line: n.Line}
	keys := d.mapping(n, "an entry", "id", "path", "uid", "gid")
	if keys == nil {
		return e
	}
	if v := keys["id"]; v == nil {
		d.complain(n, "the entry has no id; give the SPIFFE ID's path, such as /spike/nexus")
	} else if s, ok := d.scalar(v, "id"); ok {
		e.id = s
		if err := validID(s); err != nil {
			d.complain(v, "%v", err)
		}
	}
	if v := keys["path"]; v != nil {
		if s, ok := d.scalar(v, "path"); ok {
			e.path = d.path(v, s)
		}
	}
	e.uid = d.number(keys["uid"], "uid")
	e.gid = d.number(keys["gid"], "gid")
	// An identity must be meant for someone: an executable, or a user by number.
	switch {
	case keys["path"] != nil || keys["uid"] != nil:
	case keys["gid"] != nil:
		d.complain(n, "the entry has neither path nor uid: a group alone is not enough; add the uid, or the path of the executable")
	default:
		d.complain(n, "the entry has no selector, so every process of the provider's user would get this identity; add the path of the executable, or give the uid to say that this is meant")
	}
	return e
}

func validID(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("id %q must be the SPIFFE ID's path alone, beginning with a slash, such as /spike/nexus", s)
	}
	if err := spiffeid.ValidatePath(s); err != nil {
		return fmt.Errorf("id %q is not a valid SPIFFE ID path: %w", s, err)
	}
	return nil
}

// path makes the name absolute. It keeps symbolic links: what the name leads to
// is decided each time that a caller is attested.
func (d *decoder) path(n *yaml.Node, s string) string {
	if strings.ContainsRune(s, 0) {
		d.complain(n, "path %q is not a file name", s)
		return ""
	}
	if filepath.IsAbs(s) {
		return filepath.Clean(s)
	}
	folder, err := filepath.Abs(filepath.Dir(d.name))
	if err != nil {
		d.complain(n, "path %q: %v", s, err)
		return ""
	}
	return filepath.Join(folder, s)
}

// number takes plain decimals only: YAML would read 010 as eight. The highest
// value stands for "no such id" in the kernel.
func (d *decoder) number(n *yaml.Node, key string) *uint32 {
	if n == nil {
		return nil
	}
	s, ok := d.scalar(n, key)
	if !ok {
		return nil
	}
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == math.MaxUint32 || (len(s) > 1 && s[0] == '0') {
		d.complain(n, "%s %q is not a whole number from 0 to %d", key, s, uint32(math.MaxUint32-1))
		return nil
	}
	id := uint32(v)
	return &id
}
