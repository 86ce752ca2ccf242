package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/spiffe/spike/app/pilot/internal/identity"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/internal/client"
	"github.com/spiffe/spike/internal/role"
)

// session is a client of Nexus under one identity. A command has one at most: it
// asks for what it does, and for what explains why it could not be done.
type session struct {
	*client.Client
	config Config
	id     spiffeid.ID
	role   role.Role
	// asked is the question that this session puts to policies, as flags of "spike policy
	// test"; empty where no policy could allow it.
	asked string
}

// asks notes what is going to be asked for. Without a path it is to encrypt or decrypt.
func (s *session) asks(action, path string) {
	s.asked = "--action " + action
	if path != "" {
		s.asked = "--path " + render.ShellWord(path) + " " + s.asked
	}
}

// connect picks the identity with the role that a command needs. With orAny the
// first identity will do where there is none with the role: the server decides.
// It does not speak to Nexus yet; the first call does. What fails here has therefore
// sent nothing, whatever the command would have done.
func (a *app) connect(ctx context.Context, need role.Role, orAny bool) (*session, error) {
	config, err := a.Config()
	if err != nil {
		return nil, &Failure{
			Code: Usage, What: "A setting is unusable.", Why: err.Error(),
			Next: []string{"Correct or unset it, and try again. Nothing was sent."}, Err: err,
		}
	}
	// Asked for each time: identities change by themselves, and a key is not to be kept
	// in a file for the next command.
	held, err := identity.Fetch(ctx, config.WorkloadAPI, config.IdentityTimeout)
	if err != nil {
		return nil, noIdentity(&config, need, orAny, err)
	}
	// Other roles of this program are left unused: a command has no more rights
	// than it needs.
	svid, err := identity.Pick(held.SVIDs, &config.Roles, need)
	if err != nil && orAny {
		svid, err = held.SVIDs[0], nil
	}
	if err != nil {
		return nil, missingRole(&config, err)
	}
	return &session{
		Client: client.New(client.Config{
			URL: config.NexusURL, SVID: x509svid.Source(svid), Bundles: held.Bundles,
			// Exactly Nexus: another program of a trusted domain must not get a secret
			// because it listens at Nexus's address.
			Expect: func(id spiffeid.ID) bool { return config.Roles.Of(id) == role.Nexus },
		}),
		config: config, id: svid.ID, role: config.Roles.Of(svid.ID),
	}, nil
}

// wanted is the SPIFFE ID of a role in the first domain where it counts.
func wanted(config *Config, r role.Role) string {
	return fmt.Sprintf("spiffe://%s/spike/pilot/role/%s", config.Roles.Pilot[0], r)
}

// noIdentity explains why the Workload API gave none, and what an entry for this
// program would need. Nexus has not been asked anything yet.
func noIdentity(config *Config, need role.Role, orAny bool, err error) error {
	// Unreachable unless it is said otherwise below: a script may wait and try again.
	f := &Failure{Code: Unreachable, What: "This program cannot get its identity.", Err: err}
	where := "The Workload API at " + config.WorkloadAPI
	start := "Start it (a SPIRE agent, or the local identity provider), or correct SPIFFE_ENDPOINT_SOCKET."
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted(err)
	case errors.Is(err, identity.ErrNoAddress):
		f.Why = "SPIFFE_ENDPOINT_SOCKET is not set, so there is no Workload API to ask."
		f.Next = []string{"Set it to the Workload API's address: export SPIFFE_ENDPOINT_SOCKET=unix:///path/to/api.sock"}
	case errors.Is(err, identity.ErrBadAddress):
		f.Why = fmt.Sprintf("SPIFFE_ENDPOINT_SOCKET is %q, which is not the address of a Workload API.", config.WorkloadAPI)
		f.Next = []string{"Write an absolute path, with three slashes: unix:///path/to/api.sock"}
	// The most frequent of all on a new machine. It says what an entry must have, in
	// both forms that there are, ready to be copied.
	case errors.Is(err, identity.ErrNotIssued):
		f.Code, f.What = Denied, "This program has no identity."
		f.Why = fmt.Sprintf("%s answered, and has no entry for this program: %s, running as uid %d.",
			where, executable(), os.Getuid())
		entry := "Add an entry for it with the SPIFFE ID " + wanted(config, need) + "."
		if orAny {
			entry = "Add an entry for it: for an administrator with the SPIFFE ID " + wanted(config, need) +
				",\nfor a workload with the one that its policies name."
		}
		f.Next = []string{
			entry,
			fmt.Sprintf("SPIRE: selectors unix:uid:%d and unix:path:%s. Local provider: uid: %d and path: %s in its entries file.",
				os.Getuid(), executable(), os.Getuid(), executable()),
		}
	case errors.Is(err, fs.ErrNotExist):
		f.Why = where + " is not there: no such file."
		f.Next = []string{start}
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Why = where + " is not running: the connection was refused."
		f.Next = []string{start}
	case errors.Is(err, fs.ErrPermission):
		f.Why = fmt.Sprintf("%s may not be opened by uid %d: permission denied.", where, os.Getuid())
		f.Next = []string{"Give this user access to the socket and to the folders above it."}
	default:
		f.Why = where + " did not answer as it should: " + err.Error() + "."
		f.Next = []string{start, "If it is only slow, raise SPIKE_SPIFFE_SOURCE_TIMEOUT (now " + config.IdentityTimeout.String() + ")."}
	}
	return f
}

// missingRole lists what was offered: the usual mistake is an entry for another
// role, or one in a domain where roles do not count.
func missingRole(config *Config, err error) error {
	// Anything else is a fault of this program, and is told in its own words.
	var missing *identity.MissingRoleError
	if !errors.As(err, &missing) {
		return err
	}
	offered := make([]string, len(missing.Offered))
	for i, id := range missing.Offered {
		offered[i] = "  " + id.String()
	}
	return &Failure{
		Code: Denied,
		What: fmt.Sprintf("None of this program's identities has the role %s, which this command needs.", missing.Want),
		Why:  "The Workload API offers:\n" + strings.Join(offered, "\n"),
		Next: []string{
			fmt.Sprintf("Register %s (or an ID below it) for %s, uid %d.", wanted(config, missing.Want), executable(), os.Getuid()),
			"Roles count in these trust domains only: " + domains(config) + ".",
		},
		Err: err,
	}
}

// domains lists where Pilot's roles count.
func domains(config *Config) string {
	list := make([]string, len(config.Roles.Pilot))
	for i, td := range config.Roles.Pilot {
		list[i] = td.Name()
	}
	return strings.Join(list, ", ")
}

// executable is the path that an entry would name. The Workload API sees the
// same one, unless it looks from another container.
func executable() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}
