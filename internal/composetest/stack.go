// Package composetest runs the cluster of docker-compose.yaml by scripts/compose, as a
// user does, for end-to-end tests and drills. Each stack has a project of its own, and
// a port of its own: nothing of another one is touched.
package composetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spiffe/spike/internal/clustertest"
)

// The users of the containers, as docker-compose.yaml has them. A user is an identity.
const (
	Identity  = 18000
	Nexus     = 18001
	Keeper    = 18010 // and the Keeper's number
	Init      = 18020
	Superuser = 18021
	Recover   = 18022
	Restore   = 18023
	Workload  = 18031
)

// Stack is a cluster in containers, whether it runs or not.
type Stack struct {
	root    string // the checkout
	project string
	port    int
	more    []string // environment, in addition
}

// New names a stack of the checkout root, and chooses its port. Nothing is started.
func New(root, project string) (*Stack, error) {
	port, err := freePort()
	return &Stack{root: root, project: project, port: port}, err
}

// freePort looks below the range from which the kernel serves outgoing connections.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return port, listener.Close()
	}
	return 0, errors.New("found no free port")
}

// Project is the name that containers, networks, volumes and images begin with.
func (s *Stack) Project() string { return s.project }

// Port is the one of 127.0.0.1 that Nexus is published at.
func (s *Stack) Port() int { return s.port }

// Env is what makes scripts/compose, and docker-compose itself, work on this stack.
func (s *Stack) Env() []string {
	return append([]string{"COMPOSE_PROJECT_NAME=" + s.project, "SPIKE_COMPOSE_PORT=" + strconv.Itoa(s.port)}, s.more...)
}

// Run runs a program in the checkout. An error means that it could not be run; a code
// of its own is none.
func (s *Stack) Run(ctx context.Context, stdin io.Reader, name string, args ...string) (clustertest.Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	// It has children of its own, and removes what it began: a signal, not SIGKILL.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Dir, cmd.Env = s.root, append(cmd.Environ(), s.Env()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return clustertest.Result{}, fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return clustertest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}

// must runs a program that must succeed, and returns what it printed.
func (s *Stack) must(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	r, err := s.Run(ctx, stdin, name, args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout, err
}

// Script runs scripts/compose, which must succeed.
func (s *Stack) Script(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return s.must(ctx, stdin, filepath.Join(s.root, "scripts", "compose"), args...)
}

// Docker runs docker, which must succeed, and returns what it printed without spaces
// at its ends.
func (s *Stack) Docker(ctx context.Context, args ...string) (string, error) {
	out, err := s.must(ctx, nil, "docker", args...)
	return strings.TrimSpace(out), err
}

// Container returns the id of a service's container.
func (s *Stack) Container(ctx context.Context, service string) (string, error) {
	out, err := s.Docker(ctx, "ps", "-aq", "--no-trunc", "--filter", s.label(),
		"--filter", "label=com.docker.compose.service="+service, "--filter", "label=com.docker.compose.oneoff=False")
	if err == nil && len(strings.Fields(out)) != 1 {
		err = fmt.Errorf("of %s there are the containers %q, and one was expected", service, out)
	}
	return out, err
}

func (s *Stack) label() string { return "label=com.docker.compose.project=" + s.project }

// Name is that of a network or volume, or with "/" for "_" of an image.
func (s *Stack) Name(of string) string { return s.project + "_" + of }

// Image builds an image with one static program in it, which goes with the stack.
func (s *Stack) Image(ctx context.Context, name, program string) (err error) {
	dir, err := os.MkdirTemp("", "spike-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "program"), content, 0o755); err != nil {
		return err
	}
	const file = "FROM scratch\nCOPY program /program\nUSER 65534:65534\nENTRYPOINT [\"/program\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o600); err != nil {
		return err
	}
	_, err = s.Docker(ctx, "build", "-q", "--label", "ist.spike.project="+s.project, "-t", s.project+"/"+name, dir)
	return err
}

// Inside runs such an image's program as Pilot and workloads are run, as the user uid
// in a network. Further options of docker run stand before the program's arguments.
func (s *Stack) Inside(ctx context.Context, image string, uid int, network string, options []string, args ...string) (clustertest.Result, error) {
	command := append(append([]string{"run", "--rm"}, s.inside(uid, network)...), options...)
	return s.Run(ctx, nil, "docker", append(append(command, s.project+"/"+image), args...)...)
}

// inside is how docker-compose.yaml has Pilot and workloads run. A test compares.
func (s *Stack) inside(uid int, network string) []string {
	return []string{
		"--label", "com.docker.compose.project=" + s.project, "--user", fmt.Sprintf("%d:%d", uid, uid),
		"--network", network, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
		"--ulimit", "core=0", "--ulimit", "memlock=1048576", "--ulimit", "nofile=16384", "--ipc", "none",
		"--memory", "128m", "--memory-swap", "128m", "--pids-limit", "64", "-v", s.Name("workload-api") + ":/workload-api:ro",
	}
}

// Left lists what is there of the project: nothing, after its end.
func (s *Stack) Left(ctx context.Context) ([]string, error) {
	var left []string
	for _, list := range [][]string{
		{"ps", "-a", "--filter", s.label(), "--format", "container {{.Names}}"},
		{"network", "ls", "--filter", s.label(), "--format", "network {{.Name}}"},
		{"volume", "ls", "--filter", s.label(), "--format", "volume {{.Name}}"},
		{"volume", "ls", "--filter", "name=^" + s.Name(""), "--format", "volume {{.Name}}"},
		{"image", "ls", "--filter", "reference=" + s.project + "/*", "--format", "image {{.Repository}}"},
		{"image", "ls", "-a", "--filter", "label=ist.spike.project=" + s.project, "--format", "image {{.Repository}} {{.ID}}"},
	} {
		out, err := s.Docker(ctx, list...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	return left, nil
}

// Logs are the last lines of each container's log.
func (s *Stack) Logs(ctx context.Context, lines int) string {
	var out strings.Builder
	for _, service := range []string{"identity", "keeper-1", "keeper-2", "keeper-3", "nexus"} {
		id, err := s.Container(ctx, service)
		if err != nil {
			fmt.Fprintf(&out, "--- %s: %v\n", service, err)
			continue
		}
		r, err := s.Run(ctx, nil, "docker", "logs", "--tail", strconv.Itoa(lines), id)
		fmt.Fprintf(&out, "--- %s\n%s%s", service, r.Stdout, r.Stderr)
		if err != nil {
			fmt.Fprintf(&out, "%v\n", err)
		}
	}
	return out.String()
}

// Close removes all of it, and returns an error when anything is left.
func (s *Stack) Close(ctx context.Context) error {
	_, err := s.Script(ctx, nil, "down", "--destroy", "--yes")
	left, listed := s.Left(ctx)
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("of %s there is left: %s", s.project, strings.Join(left, ", ")))
	}
	return errors.Join(err, listed)
}
