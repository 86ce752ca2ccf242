// Package config reads settings from the environment, checks each one, and
// collects every mistake, so that a program can name all of them at once before
// it starts. Only a binary's config.go uses it.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Reader reads settings by name. The zero value is not usable; see [New].
type Reader struct {
	lookup func(string) (string, bool)
	errs   []error
}

// New returns a Reader over lookup, usually [os.LookupEnv].
func New(lookup func(string) (string, bool)) *Reader {
	return &Reader{lookup: lookup}
}

// Err returns every problem found so far, each naming its setting, or nil.
func (r *Reader) Err() error {
	return errors.Join(r.errs...)
}

// get treats an empty setting as unset: compose files and shells hand over
// empty strings for variables that nobody meant to set.
func (r *Reader) get(name string) (string, bool) {
	v, ok := r.lookup(name)
	v = strings.TrimSpace(v)
	return v, ok && v != ""
}

// Reject records that the setting is unusable and why.
func (r *Reader) Reject(name, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

// String returns the setting as it is.
func (r *Reader) String(name, fallback string) string {
	if v, ok := r.get(name); ok {
		return v
	}
	return fallback
}

// OneOf returns the setting, which must be one of allowed.
func (r *Reader) OneOf(name, fallback string, allowed ...string) string {
	v := r.String(name, fallback)
	for _, a := range allowed {
		if v == a {
			return v
		}
	}
	r.Reject(name, "%q is not one of %s", v, strings.Join(allowed, ", "))
	return fallback
}

// Int returns a whole number between low and high, both included.
func (r *Reader) Int(name string, fallback, low, high int) int {
	v, ok := r.get(name)
	if !ok {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		r.Reject(name, "%q is not a whole number from %d to %d", v, low, high)
		return fallback
	}
	return n
}

// Duration returns a duration between low and high, both included.
func (r *Reader) Duration(name string, fallback, low, high time.Duration) time.Duration {
	v, ok := r.get(name)
	if !ok {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		r.Reject(name, "%q is not a duration; write for example 30s, 5m or 1h", v)
		return fallback
	}
	if d < low || d > high {
		r.Reject(name, "%s is outside %s to %s", d, low, high)
		return fallback
	}
	return d
}

// Address returns a TCP address to listen on: ":8553" or "127.0.0.1:8553".
// A bare port is taken as ":port".
func (r *Reader) Address(name, fallback string) string {
	v := r.String(name, fallback)
	if _, err := strconv.Atoi(v); err == nil {
		v = ":" + v
	}
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		r.Reject(name, "%q is not an address; write :8553 or 127.0.0.1:8553", v)
		return fallback
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		r.Reject(name, "%q is not a port from 1 to 65535", port)
		return fallback
	}
	if strings.ContainsAny(host, "/ ") {
		r.Reject(name, "%q is not a host to listen on", host)
		return fallback
	}
	return v
}

// URL returns an https URL with a host and no path, query or user.
func (r *Reader) URL(name, fallback string) *url.URL {
	u, err := ParseURL(r.String(name, fallback))
	if err != nil {
		r.Reject(name, "%v", err)
	}
	return u
}

// URLs returns a comma-separated list of https URLs, none twice. An unset one
// is an empty list.
func (r *Reader) URLs(name string) []*url.URL {
	v, ok := r.get(name)
	if !ok {
		return nil
	}
	var list []*url.URL
	seen := map[string]bool{}
	for part := range strings.SplitSeq(v, ",") {
		u, err := ParseURL(strings.TrimSpace(part))
		if err != nil {
			r.Reject(name, "%v", err)
			continue
		}
		if seen[u.Host] {
			r.Reject(name, "%s is listed twice", u.Host)
			continue
		}
		seen[u.Host] = true
		list = append(list, u)
	}
	return list
}

// ParseURL reads an https URL with a host and no path, query or user. An error never
// repeats one that can have a password or token in it: it ends up in logs.
func ParseURL(s string) (*url.URL, error) {
	if strings.ContainsAny(s, "@?#") {
		return nil, errors.New("there is a user or a password, a query or a fragment in it (an @, ? or #), and nothing takes them; " +
			"write https://host:port")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL; write https://host:port", s)
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if u.Scheme != "https" || u.Hostname() == "" || *u != bare {
		return nil, fmt.Errorf("%q is not of the form https://host:port", s)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("%q: %q is not a port from 1 to 65535", s, p)
		}
	}
	return u, nil
}

// Folder returns an absolute path. "~/" stands for the user's home.
func (r *Reader) Folder(name, fallback string) string {
	v := r.String(name, fallback)
	if rest, ok := strings.CutPrefix(v, "~/"); ok {
		home, _ := r.get("HOME")
		if home == "" {
			r.Reject(name, "%q needs HOME, which is not set; give an absolute path", v)
			return v
		}
		v = filepath.Join(home, rest)
	}
	abs, err := filepath.Abs(v)
	if err != nil {
		r.Reject(name, "%q: %v", v, err)
		return v
	}
	return abs
}

// LogLevel returns SPIKE_SYSTEM_LOG_LEVEL: DEBUG, INFO, WARN (the default) or
// ERROR.
func (r *Reader) LogLevel() slog.Level {
	const name = "SPIKE_SYSTEM_LOG_LEVEL"
	var level slog.Level
	v := strings.ToUpper(r.String(name, "WARN"))
	switch v {
	case "DEBUG", "INFO", "WARN", "ERROR":
	default:
		r.Reject(name, "%q is not one of DEBUG, INFO, WARN, ERROR", v)
		return slog.LevelWarn
	}
	if err := level.UnmarshalText([]byte(v)); err != nil {
		r.Reject(name, "%v", err)
	}
	return level
}

// TrustRoots returns the trust domains listed in SPIKE_TRUST_ROOT.
func (r *Reader) TrustRoots() []spiffeid.TrustDomain {
	return r.trustDomains("SPIKE_TRUST_ROOT", "spike.ist")
}

// ComponentTrustRoots returns the trust domains in which a component's role
// counts: those its own variable SPIKE_TRUST_ROOT_component lists, else the
// first of SPIKE_TRUST_ROOT.
func (r *Reader) ComponentTrustRoots(component string) []spiffeid.TrustDomain {
	name := "SPIKE_TRUST_ROOT_" + component
	if _, ok := r.get(name); ok {
		return r.trustDomains(name, "")
	}
	// A mistake in SPIKE_TRUST_ROOT is reported by TrustRoots, once.
	quiet := New(r.lookup)
	all := quiet.TrustRoots()
	return all[:min(1, len(all))]
}

func (r *Reader) trustDomains(name, fallback string) []spiffeid.TrustDomain {
	var list []spiffeid.TrustDomain
	seen := map[spiffeid.TrustDomain]bool{}
	for part := range strings.SplitSeq(r.String(name, fallback), ",") {
		part = strings.TrimSpace(part)
		td, err := spiffeid.TrustDomainFromString(part)
		if err != nil {
			r.Reject(name, "%q is not a trust domain name such as spike.ist", part)
			continue
		}
		if !seen[td] {
			seen[td] = true
			list = append(list, td)
		}
	}
	return list
}

// EndpointSocket returns SPIFFE_ENDPOINT_SOCKET, the Workload API's address.
// It is required, since without it a program has no identity.
func (r *Reader) EndpointSocket() string {
	const name = "SPIFFE_ENDPOINT_SOCKET"
	v, ok := r.get(name)
	if !ok {
		r.Reject(name, "is not set; set it to the Workload API's address, "+
			"for example unix:///run/spire/agent/api.sock")
		return ""
	}
	if !strings.HasPrefix(v, "unix:") && !strings.HasPrefix(v, "tcp:") {
		r.Reject(name, "%q must begin with unix:// (or tcp://)", v)
	}
	return v
}
