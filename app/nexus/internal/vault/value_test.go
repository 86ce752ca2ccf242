package vault

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/spiffe/spike/internal/api"
)

// TestValuesAreEncodedAsJSONIs compares with encoding/json.
func TestValuesAreEncodedAsJSONIs(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.StringMatching(`[ -~]{0,20}`), rapid.String(), rapid.SampledFrom([]string{"", "<&>", "\x7f", "\u2028", `\`, `"`}))
	rapid.Check(t, func(t *rapid.T) {
		values := api.Values(rapid.MapOfN(text, text, 0, 5).Draw(t, "values"))
		got, err := encodeValues(values)
		if err != nil {
			t.Fatal(err)
		}
		want, err := encodeAny(values)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Expose()) != string(want.Expose()) {
			t.Errorf("got %s, want %s", got.Expose(), want.Expose())
		}
	})
}
