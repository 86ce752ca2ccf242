package main

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/process"
)

// fits is the least that a Nexus needs to be told.
func fits() map[string]string {
	return map[string]string{
		"HOME":                     "/home/op",
		"SPIFFE_ENDPOINT_SOCKET":   "unix:///run/agent.sock",
		"SPIKE_NEXUS_KEEPER_PEERS": "https://k1:8443,https://k2:8443,https://k3:8443",
	}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

func TestDefaults(t *testing.T) {
	s, err := readSettings(lookup(fits()), true)
	if err != nil {
		t.Fatal(err)
	}
	if s.address != ":8553" || s.backend != "sqlite" || s.dataDir != "/home/op/.spike/data" || s.shares != 3 ||
		s.threshold != 2 || s.maxVersions != 10 || s.maxCiphertext != 65536 || len(s.keepers) != 3 {
		t.Errorf("got %+v", s)
	}
}

// TestEveryBadSettingIsNamed changes one setting at a time, and then all at once.
func TestEveryBadSettingIsNamed(t *testing.T) {
	bad := map[string]string{
		"SPIFFE_ENDPOINT_SOCKET":                 "",
		"SPIKE_NEXUS_TLS_PORT":                   "localhost",
		"SPIKE_NEXUS_BACKEND_STORE":              "postgres",
		"SPIKE_NEXUS_KEEPER_PEERS":               "https://k1:8443,http://k2,https://k1:8443",
		"SPIKE_NEXUS_SHAMIR_THRESHOLD":           "0",
		"SPIKE_NEXUS_KEEPER_UPDATE_INTERVAL":     "5",
		"SPIKE_NEXUS_RECOVERY_MAX_INTERVAL":      "0s",
		"SPIKE_NEXUS_MAX_SECRET_VERSIONS":        "-1",
		"SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE": "1G",
		"SPIKE_HTTP_SERVER_READ_HEADER_TIMEOUT":  "1ms",
		"SPIKE_SPIFFE_SOURCE_TIMEOUT":            "soon",
		"SPIKE_SYSTEM_LOG_LEVEL":                 "LOUD",
		"SPIKE_TRUST_ROOT":                       "spike.ist,UPPER",
		"SPIKE_TRUST_ROOT_PILOT":                 "a b",
	}
	for name, value := range bad {
		env := fits()
		env[name] = value
		if _, err := readSettings(lookup(env), true); err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
	env := fits()
	maps.Copy(env, bad)
	_, err := readSettings(lookup(env), true)
	for name := range bad {
		if err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("all at once: %s is not named", name)
		}
	}
}

func TestSharesAndKeepersFit(t *testing.T) {
	for _, change := range []map[string]string{
		{"SPIKE_NEXUS_KEEPER_PEERS": ""},
		{"SPIKE_NEXUS_KEEPER_PEERS": "https://k1:8443"},
		{"SPIKE_NEXUS_SHAMIR_SHARES": "5"},
		{"SPIKE_NEXUS_SHAMIR_THRESHOLD": "4"},
	} {
		env := fits()
		maps.Copy(env, change)
		if _, err := readSettings(lookup(env), true); err == nil {
			t.Errorf("%v was accepted", change)
		}
		if _, err := readSettings(lookup(env), false); err != nil {
			t.Errorf("%v hinders asking for health: %v", change, err)
		}
		env["SPIKE_NEXUS_BACKEND_STORE"] = "memory"
		if _, err := readSettings(lookup(env), true); err != nil {
			t.Errorf("%v hinders a store in memory: %v", change, err)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"--version"}, "nexus ", 0}, {[]string{"--help"}, "Usage:", 0},
		{[]string{"fly"}, "", 2}, {[]string{"run", "fast"}, "", 2}, {[]string{"health"}, "", 1}, {nil, "", 1},
	} {
		var out bytes.Buffer
		err := run(t.Context(), c.args, lookup(nil), &out, &out)
		code := 0
		if err != nil {
			code = exitCode(err)
		}
		if code != c.code || !strings.Contains(out.String(), c.want) || code == 2 != errors.Is(err, process.ErrUsage) {
			t.Errorf("%v: exit %d, %v, %q", c.args, code, err, &out)
		}
	}
}
