package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/spiffe/spike/internal/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// What is offered to a shell is the same however slow the machine is.
		"spike":       func() { os.Exit(command(time.Minute)) },
		"spike-as-is": main,
	})
}

// TestScript runs testdata/script, which read as the commands' manual. Beside
// testscript's own they have the commands below.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			w := newWorld(t)
			env.Defer(w.close)
			env.Values["world"] = w
			env.Vars = append(env.Vars, w.environment()...)
			env.Setenv("HOME", env.WorkDir+"/home")
			return os.Mkdir(env.WorkDir+"/home", 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"nexus":    nexus,
			"identity": identities,
			"stored":   stored,
			"requests": requests,
			"fill":     fill,
			"secrets":  secrets,
			"mode":     mode,
		},
	})
}

func in(ts *testscript.TestScript) *world {
	w, ok := ts.Value("world").(*world)
	if !ok {
		ts.Fatalf("this script has no world")
	}
	return w
}

// exits CODE COMMAND… runs a command that must end with that exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// nexus open|locked|uninitialized|failed|hangs puts Nexus into a state; nexus stop,
// start and impostor do what they say; nexus answers NAME gives every call but
// status that answer; nexus outdated is locked over an older store, which shows once
// it is restored; nexus mismatched is locked over a store that no shares open; nexus fails NAME cannot write that policy.
func nexus(ts *testscript.TestScript, _ bool, args []string) {
	w := in(ts)
	switch args[0] {
	case "stop":
		w.stopNexus()
	case "start":
		w.startNexus("/spike/nexus")
	case "impostor":
		w.stopNexus()
		w.startNexus("/spike/keeper")
	case "outdated":
		w.mu.Lock()
		w.state, w.outdated, w.answer = api.StateLocked, true, nil
		clear(w.collected)
		w.mu.Unlock()
	case "mismatched":
		w.mu.Lock()
		w.state, w.mismatch, w.answer = api.StateLocked, true, nil
		clear(w.collected)
		w.mu.Unlock()
	case "fails":
		w.mu.Lock()
		w.fails = args[1]
		w.mu.Unlock()
	case "answers":
		answers := map[string]error{
			"denied": api.ErrUnauthorized, "internal": api.ErrInternal, "attempts": api.ErrTooManyAttempts,
			"holds-share": api.ErrKeeperHoldsShare, "keeper-away": api.ErrKeeperUnreachable,
			"memory": api.ErrNoRootKeyBackend, "bad-request": api.ErrBadRequest, "no-room": api.ErrNoRoom,
		}
		err, ok := answers[args[1]]
		if !ok {
			ts.Fatalf("nexus cannot answer %s", args[1])
		}
		w.mu.Lock()
		w.answer = err
		w.mu.Unlock()
	default:
		w.mu.Lock()
		w.state, w.answer = args[0], nil
		w.mu.Unlock()
	}
}

// identity NAME… issues identities: superuser, recover, restore or a path.
// identity none issues none, silent never answers, and away ends the provider.
func identities(ts *testscript.TestScript, _ bool, args []string) {
	w := in(ts)
	if args[0] == "away" {
		w.stopAPI()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.identities, w.silent = nil, args[0] == "silent"
	for _, name := range args {
		switch {
		case name == "none", name == "silent":
		case strings.HasPrefix(name, "/"):
			w.identities = append(w.identities, name)
		default:
			w.identities = append(w.identities, "/spike/pilot/role/"+name)
		}
	}
}

// stored PATH KEY FILE compares what Nexus has with a file, byte for byte.
func stored(ts *testscript.TestScript, _ bool, args []string) {
	versions := in(ts).stored(args[0])
	if len(versions) == 0 {
		ts.Fatalf("%s is not there", args[0])
	}
	if versions[len(versions)-1][args[1]] != ts.ReadFile(args[2]) {
		ts.Fatalf("%s of %s is not %s", args[1], args[0], args[2])
	}
}

// requests N says how many requests Nexus was sent since the last time.
func requests(ts *testscript.TestScript, _ bool, args []string) {
	w := in(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strconv.Itoa(w.requests); got != args[0] {
		ts.Fatalf("%s requests were sent, want %s", got, args[0])
	}
	w.requests = 0
}

// secrets N writes secrets many/0000 and so on.
func secrets(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	w := in(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range n {
		w.secrets[fmt.Sprintf("many/%04d", i)] = []*kept{{values: api.Values{"k": "v"}}}
	}
}

// fill FILE KIND makes a file: a password without a newline and with one of
// Windows, a large kubeconfig, every byte, more than fits, or so many bytes.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	var content strings.Builder
	switch args[1] {
	case "password":
		content.WriteString("hunter2")
	case "password-crlf":
		content.WriteString("hunter2\r\n")
	case "kubeconfig":
		content.WriteString("apiVersion: v1\nkind: Config\nclusters:\n")
		for i := 0; content.Len() < 20<<10; i++ {
			fmt.Fprintf(&content, "- name: \"cluster-%d\"\t# <&>\r\n  data: %s\n", i, strings.Repeat("TFMwdA==", 8))
		}
	case "binary":
		for i := range 256 {
			content.WriteByte(byte(i))
		}
	case "huge":
		content.WriteString(strings.Repeat("x", api.MaxBody+1))
	default:
		size, err := strconv.Atoi(args[1])
		ts.Check(err)
		content.WriteString(strings.Repeat("x", size))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(content.String()), 0o600))
}

// mode PERMISSIONS FILE… compares permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(file))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has the mode %s, want %s", file, got, args[0])
		}
	}
}
