package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// user is someone who runs scripts: the one who runs the tests, or, when that is
// root, also one with no rights at all.
type user struct {
	name string
	uid  int
	home string
	env  []string // where Go keeps what it downloaded and built
}

// nobody has a uid that owns nothing on most machines.
const nobody = 65534

// checkout is the working state of this checkout in an empty folder, as a fresh
// clone of it would be.
type checkout struct {
	dir  string
	user user
	// path is the PATH of what runs in it.
	path string
}

// clone makes a checkout that belongs to the user and ends all that was started
// in it when the test ends.
func clone(t *testing.T, u user) *checkout {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	c := &checkout{dir: filepath.Join(folder(t, u), "spike"), user: u, path: os.Getenv("PATH")}
	for _, name := range tracked(t, root) {
		copyFile(t, filepath.Join(root, name), filepath.Join(c.dir, name))
	}
	own(t, c.dir, u)
	unguard := c.guard(t)
	t.Cleanup(func() {
		defer unguard()
		locals, err := filepath.Glob(filepath.Join(c.dir, ".spike*"))
		if err != nil {
			t.Error(err)
		}
		for _, local := range locals {
			c.cleanup(t, local)
		}
	})
	return c
}

// guard has a process wait for the end of this one, however that comes, and end
// what then still runs of the clusters: they are made to outlive whoever started
// them. The function that it returns is for when nothing is left to guard.
func (c *checkout) guard(t *testing.T) (unguard func()) {
	t.Helper()
	const script = `shopt -s nullglob; read -r _; for dir in "$0"/.spike*; do SPIKE_LOCAL_DIR=$dir "$0/scripts/start" --stop; done`
	// The test's context ends before its cleanup does.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/bash", "-c", script, c.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.credential()}
	stdin, err := cmd.StdinPipe()
	must(t, err, cmd.Start())
	return func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

func (c *checkout) cleanup(t *testing.T, local string) {
	if t.Failed() {
		logs, err := filepath.Glob(filepath.Join(local, "log", "*.log"))
		if err != nil {
			t.Error(err)
		}
		for _, log := range logs {
			t.Logf("--- %s\n%s", log, tail(read(log), 15))
		}
	}
	// The test's own context has ended.
	if r := c.run(context.WithoutCancel(t.Context()), t, []string{"SPIKE_LOCAL_DIR=" + local}, "scripts/start", "--stop"); r.Code != 0 {
		t.Errorf("scripts/start --stop: %s", r.Stderr)
	}
}

// folder is one that all of the user's processes can reach, unlike t.TempDir's.
func folder(t *testing.T, u user) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spike-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	must(t, os.Chown(dir, u.uid, -1))
	return dir
}

// tracked lists what a commit of the working state would have.
func tracked(t *testing.T, root string) []string {
	t.Helper()
	names, err := Files(t.Context(), root)
	must(t, err)
	return names
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	must(t, err, out.Close())
}

func own(t *testing.T, dir string, u user) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, u.uid, -1)
	}))
}

// self is who runs the tests.
func self(t *testing.T) user {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return user{
		name: "as uid " + strconv.Itoa(os.Getuid()), uid: os.Getuid(), home: home,
		env: []string{"GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE")},
	}
}

// users are those whom the scripts must work for.
func users(t *testing.T) []user {
	t.Helper()
	if os.Getuid() != 0 {
		return []user{self(t)}
	}
	other := user{name: "as an ordinary user", uid: nobody}
	other.home = folder(t, other)
	other.env = []string{"GOCACHE=" + other.home + "/gocache", "GOMODCACHE=" + other.home + "/gomod", "GOPROXY=off"}
	shareCaches(t, other)
	return []user{self(t), other}
}

// shareCaches gives another user what Go has downloaded and built already, which
// lies in our own home where nobody else can look. The files are linked, not
// copied: they stay ours, and cannot be changed there.
func shareCaches(t *testing.T, u user) {
	t.Helper()
	link(t, goEnv(t, "GOCACHE"), filepath.Join(u.home, "gocache"), nil)
	modules := goEnv(t, "GOMODCACHE")
	// Of the modules those that the programs need, and of the downloads what says
	// which versions there are.
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{with .Module}}{{if .Version}}{{.Dir}}{{end}}{{end}}", "github.com/spiffe/spike/app/...")
	output, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	needed := map[string]bool{}
	for dir := range strings.FieldsSeq(string(output)) {
		needed[dir] = true
	}
	for dir := range needed {
		within, err := filepath.Rel(modules, dir)
		must(t, err)
		link(t, dir, filepath.Join(u.home, "gomod", within), nil)
	}
	link(t, filepath.Join(modules, "cache", "download"), filepath.Join(u.home, "gomod", "cache", "download"),
		func(name string) bool {
			switch filepath.Ext(name) {
			case ".mod", ".info", ".ziphash", ".lock":
				return true
			}
			return false
		})
	// Folders alone: what is linked belongs to us in our own cache, too.
	must(t, filepath.WalkDir(u.home, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return errors.Join(os.Chmod(name, 0o755), os.Lchown(name, u.uid, -1))
	}))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// link makes to a copy of the tree from, with links to its files where that is
// possible. Files that others add or remove meanwhile do not matter.
func link(t *testing.T, from, to string, want func(string) bool) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		within, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, within)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case !entry.Type().IsRegular() || want != nil && !want(name):
			return nil
		}
		err = os.Link(name, target)
		if errors.Is(err, syscall.EXDEV) {
			copyFile(t, name, target)
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}))
}

// credential is the user's, or nil when that is who runs the tests.
func (c *checkout) credential() *syscall.Credential {
	if c.user.uid == os.Getuid() {
		return nil
	}
	return &syscall.Credential{Uid: uint32(c.user.uid), Gid: nobody}
}

// run runs a program of the checkout as its user, with env in addition.
func (c *checkout) run(ctx context.Context, t *testing.T, env []string, args ...string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if !filepath.IsAbs(args[0]) {
		cmd.Path = filepath.Join(c.dir, args[0])
	}
	cmd.Dir = c.dir
	cmd.Env = slices.Concat([]string{"HOME=" + c.user.home, "PATH=" + c.path, "GOFLAGS=-buildvcs=false"}, c.user.env, env)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.credential()}
	// This would wait for as long as anything that was started holds the pipes.
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// local is one cluster that scripts/start runs in a checkout.
type local struct {
	*checkout
	dir  string
	port int
}

// newLocal chooses a folder and ports for a cluster.
func (c *checkout) newLocal(t *testing.T, name string) *local {
	t.Helper()
	// It takes four ports in a row.
	ports, err := takeRow(4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, releaseAll(ports)) })
	return &local{checkout: c, dir: filepath.Join(c.dir, ".spike"+name), port: ports[0].number}
}

// start runs scripts/start, wants the exit code, and returns what it printed.
func (l *local) start(t *testing.T, code int, args ...string) Result {
	t.Helper()
	r := l.run(t.Context(), t, []string{"SPIKE_LOCAL_DIR=" + l.dir}, append([]string{"scripts/start"}, args...)...)
	if r.Code != code {
		t.Fatalf("scripts/start %q: exit code %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// first is a start with ports of our own.
func (l *local) first(t *testing.T, code int) Result {
	t.Helper()
	return l.start(t, code, "--port", fmt.Sprint(l.port))
}

// spike runs Pilot in a shell that has run the one line which a start printed.
func (l *local) spike(t *testing.T, started Result, args ...string) string {
	t.Helper()
	var export string
	for line := range strings.Lines(started.Stdout) {
		if strings.HasPrefix(strings.TrimSpace(line), "export ") {
			export = line
		}
	}
	if export == "" {
		t.Fatalf("a start printed no export line:\n%s", started.Stdout)
	}
	r := l.run(t.Context(), t, nil, append([]string{"/bin/bash", "-c", export + `exec spike "$@"`, "bash"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("spike %q: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// pid reads a member's pid file; 0 means that there is none.
func (l *local) pid(t *testing.T, member string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(read(filepath.Join(l.dir, "run", member+".pid"))))
	if err != nil {
		return 0
	}
	return pid
}

// kill ends a member without warning.
func (l *local) kill(t *testing.T, member string) {
	t.Helper()
	pid := l.pid(t, member)
	if pid == 0 {
		t.Fatalf("there is no pid file of %s", member)
	}
	must(t, syscall.Kill(pid, syscall.SIGKILL))
}

// processes lists the pids of all that run programs of this cluster.
func (l *local) processes(t *testing.T) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, name := range links {
		if exe, err := os.Readlink(name); err == nil && strings.HasPrefix(exe, l.dir+"/bin/") {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}
