package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spike/internal/composetest"
)

// TestStackDrillsNotice has drills whose cluster does not come back as it was, which
// must fail. What a cluster in containers says of itself is made up here; the drills
// themselves are held in internal/composetest.
func TestStackDrillsNotice(t *testing.T) {
	fine := func(context.Context, *stack) (time.Duration, error) { return time.Second, nil }
	gone := errors.New("nobody answers")
	for name, test := range map[string]struct {
		says []string // the digests, in the order in which they are asked for
		lose func(context.Context, *stack) (time.Duration, error)
		want string
		left error // what a search for keys finds in the end
	}{
		"all is well":           {[]string{"7 aa", "7 aa"}, fine, "PASS", nil},
		"a secret less":         {[]string{"7 aa", "6 bb"}, fine, "the secrets are others", nil},
		"another value":         {[]string{"7 aa", "7 bb"}, fine, "the secrets are others", nil},
		"other before it began": {[]string{"7 bb", "7 aa"}, fine, "before it began", nil},
		"it does not come back": {[]string{"7 aa", ""}, fine, "nobody answers", nil},
		"it cannot be held": {[]string{"7 aa", "7 aa"}, func(context.Context, *stack) (time.Duration, error) {
			return 0, errors.New("no such container")
		}, "no such container", nil},
		"a share is left": {[]string{"7 aa", "7 aa"}, fine, "the log of nexus has a share", errors.New("the log of nexus has a share")},
	} {
		t.Run(name, func(t *testing.T) {
			none, err := composetest.New(t.TempDir(), "spike-test-none")
			if err != nil {
				t.Fatal(err)
			}
			s := &stack{Stack: none, before: "7 aa"}
			s.look = func(context.Context) error { return test.left }
			s.ask = func(context.Context, ...string) (string, error) {
				says := test.says[0]
				test.says = test.says[1:]
				if says == "" {
					return "", gone
				}
				return says, nil
			}
			var out bytes.Buffer
			err = report(&out, []outcome{s.hold(t.Context(), stackDrill{name, test.lose})})
			if passed := test.want == "PASS"; errors.Is(err, errFailed) == passed || !strings.Contains(out.String(), test.want) {
				t.Errorf("%v:\n%s", err, out.String())
			}
		})
	}
}
