package nearest_test

import (
	"testing"

	"github.com/spiffe/spike/app/pilot/internal/nearest"
)

func TestOf(t *testing.T) {
	words := []string{"spiffeid", "path", "permission", "output", "read", "write", "list"}
	for word, want := range map[string]string{
		"spiffeid": "spiffeid", "spifeid": "spiffeid", "spiffe": "spiffeid", "spiffeid-pattern": "spiffeid", "SPIFFEID": "spiffeid",
		"path-pattern": "path", "paht": "path", "pth": "path", "permissions": "permission", "wirte": "write", "writes": "write", "READ": "read", "lst": "list",
		"": "", "r": "", "rd": "", "hunter2": "", "liszt": "list", "o": "",
	} {
		if got := nearest.Of(word, words); got != want {
			t.Errorf("%q is nearest to %q, want %q", word, got, want)
		}
	}
	if got := nearest.Of("read", nil); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}
