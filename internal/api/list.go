package api

import (
	"encoding/json"
	"errors"
)

// List is an array in a request. The standard library would take a null in the
// place of an element for a zero, or for what an earlier array of the same name
// had there.
type List[E any] []E

// UnmarshalJSON reads an array, or null for none.
func (l *List[E]) UnmarshalJSON(in []byte) error {
	var loose []*E
	if err := json.Unmarshal(in, &loose); err != nil {
		return err
	}
	*l = nil
	for _, element := range loose {
		if element == nil {
			return errors.New("null is no element of this array")
		}
		*l = append(*l, *element)
	}
	return nil
}
