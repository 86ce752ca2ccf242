package api

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spiffe/spike/internal/policy"
)

// MaxPath is the longest path of a secret, in bytes.
const MaxPath = 500

const pathPunctuation = `._-/()?+*|[]{}\`

// ValidatePath says whether a secret can have this path: none is at a reserved one.
// The errors are sentences for people and name the first thing that is wrong.
func ValidatePath(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	if len(path) > MaxPath {
		return fmt.Errorf("the path has %d characters; %d is the most", len(path), MaxPath)
	}
	for i, r := range path {
		if !pathCharacter(r) {
			return fmt.Errorf("the path has %q at position %d; "+
				"letters, digits and %s are allowed", r, i+1, pathPunctuation)
		}
	}
	if path[0] == '/' || path[len(path)-1] == '/' {
		return errors.New("the path must neither begin nor end with a slash")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return errors.New("the path has two slashes in a row")
		case ".", "..":
			return fmt.Errorf("the path has a segment %q", segment)
		}
	}
	if strings.HasPrefix(path+"/", policy.ReservedPrefix) {
		return fmt.Errorf("paths under %s are reserved", policy.ReservedPrefix)
	}
	return nil
}

func pathCharacter(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r < utf8.RuneSelf && strings.ContainsRune(pathPunctuation, r)
}

// Validate says whether these values can be stored. No error repeats a value.
func (v Values) Validate() error {
	if len(v) == 0 {
		return errors.New("a secret needs at least one key")
	}
	for key := range v {
		if key == "" {
			return errors.New("a key is empty")
		}
	}
	return nil
}

// Validate checks the fields of a put.
func (r *SecretPutRequest) Validate() error {
	if err := ValidatePath(r.Path); err != nil {
		return err
	}
	if r.CAS != nil && *r.CAS < 0 {
		return errors.New("cas is negative")
	}
	if r.Return != "" && r.Return != "version" {
		return errors.New(`return is neither empty nor "version"`)
	}
	return r.Values.Validate()
}

// Validate checks the fields of a get. A version that does not exist, a
// negative one included, is for the store to refuse.
func (r *SecretGetRequest) Validate() error { return ValidatePath(r.Path) }

// Validate checks the fields of a list.
func (r *SecretListRequest) Validate() error {
	if len(r.Prefix) > MaxPath || len(r.After) > MaxPath {
		return fmt.Errorf("prefix and after have at most %d characters", MaxPath)
	}
	if r.Limit < 0 {
		return errors.New("limit is negative")
	}
	return nil
}

// MaxVersionsNamed is how many versions one request can name.
const MaxVersionsNamed = 1000

// Validate checks the fields of a delete, undelete or destroy. Versions that do
// not exist are passed over by the store.
func (r *SecretVersionsRequest) Validate() error {
	if len(r.Versions) > MaxVersionsNamed {
		return fmt.Errorf("%d versions are named; %d is the most", len(r.Versions), MaxVersionsNamed)
	}
	return ValidatePath(r.Path)
}
