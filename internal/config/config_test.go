package config_test

import (
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/config"
)

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://localhost:8553":  "https://localhost:8553",
		"https://localhost:8553/": "https://localhost:8553",
		"https://[::1]:8553":      "https://[::1]:8553",
		"https://nexus":           "https://nexus",
		"http://nexus":            `"http://nexus" is not of the form https://host:port`,
		"https://nexus/v1":        `"https://nexus/v1" is not of the form`,
		"https://":                "is not of the form",
		"https://nexus:0":         `"0" is not a port`,
		"https://local host":      "is not a URL; write https://host:port",
	} {
		r := config.New(func(string) (string, bool) { return text, true })
		got, err := r.URL("SPIKE_NEXUS_API_URL", ""), r.Err()
		switch {
		case strings.HasPrefix(want, "https://"):
			if err != nil || got.String() != want {
				t.Errorf("%s: %s, %v", text, got, err)
			}
		case err == nil || !strings.HasPrefix(err.Error(), "SPIKE_NEXUS_API_URL: ") || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestPasswordInURL: what can be a password is not repeated, wherever it stands, and
// whatever else is wrong.
func TestPasswordInURL(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://user:hunter2@localhost:8553", "https://hunter2@localhost", "http://user:hunter2@localhost", "https:user:hunter2@localhost",
		"https://user:hunter2@local host", "https://user:%zzhunter2@localhost", "https://localhost/?token=hunter2", "https://localhost#hunter2",
		"user:hunter2@localhost", "https://user:12?34hunter2@localhost",
	} {
		list := config.New(func(string) (string, bool) { return "https://keeper-1:8443, " + text, true })
		list.URLs("SPIKE_NEXUS_KEEPER_PEERS")
		one := config.New(func(string) (string, bool) { return text, true })
		one.URL("SPIKE_NEXUS_API_URL", "")
		for _, err := range []error{list.Err(), one.Err()} {
			if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "write https://host:port") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}
