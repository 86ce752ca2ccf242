package composetest

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/doctest"
)

// TestCompose takes one cluster from nothing to its end.
func TestCompose(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *Stack)
	}{
		// It is the first, since its first command is the first that a reader runs.
		{"the documentation", documentation},
		{"up again", func(t *testing.T, s *Stack) {
			contains(t, s.script(t, 0, "", "up").Stdout, "scripts/compose spike secret list")
		}},
		{"settings", settings},
		{"walls", walls},
		{"the host", host},
		{"images without Go", withoutGo},
		{"volumes", volumes},
		{"roles", roles},
		{"another checkout, and two at once", others},
		{"an empty volume", emptyVolume},
		{"containers of others", guest},
		{"docker-compose by itself", byItself},
		{"the end", end},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			return // what comes then depends on it
		}
	}
}

// documentation runs every command that pages have for a cluster in containers.
func documentation(t *testing.T, s *Stack) {
	pages := []string{"README.md"}
	must(t, filepath.WalkDir(filepath.Join(s.root, "docs"), func(name string, _ fs.DirEntry, err error) error {
		// The pages of the command line are made from it.
		if err != nil || filepath.Ext(name) != ".md" || filepath.Base(filepath.Dir(name)) == "cli" {
			return err
		}
		page, err := filepath.Rel(s.root, name)
		pages = append(pages, page)
		return err
	}))
	plain := strings.NewReplacer(s.project, "spike", ":"+itoa(s.port), ":8553", s.root, "/home/you/spike").Replace
	ran := 0
	for _, page := range pages {
		content, err := os.ReadFile(filepath.Join(s.root, page))
		must(t, err)
		has, err := doctest.Has(string(content), doctest.Compose)
		must(t, err)
		if !has {
			continue
		}
		ran++
		must(t, doctest.Run(doctest.Page{
			Name: page, Text: string(content), Kind: doctest.Compose, Folder: t.TempDir(), Plain: plain,
			Bash: func(script string) (int, string, error) {
				r, err := s.Run(t.Context(), nil, "/bin/bash", "-eu", script)
				return r.Code, r.Stderr, err
			},
		}))
	}
	if ran < 2 {
		t.Errorf("%d pages have commands for a cluster in containers", ran)
	}
}

// roles are really apart: each has a user of its own, and does nothing of the others'.
func roles(t *testing.T, s *Stack) {
	const denied = 4
	for _, test := range []struct {
		code int
		args []string
	}{
		{0, []string{"superuser", "secret", "list"}},
		{denied, []string{"superuser", "operator", "recover", "--dir", "/backup/set"}},
		{denied, []string{"superuser", "operator", "restore"}},
		{0, []string{"recover", "operator", "recover", "--dir", "/recovery/again"}},
		{denied, []string{"recover", "secret", "list"}},
		{denied, []string{"recover", "operator", "restore"}},
		{denied, []string{"restore", "operator", "status"}},
		{denied, []string{"restore", "operator", "recover"}},
		{denied, []string{"shop-web", "secret", "list"}},
		{denied, []string{"shop-web", "operator", "status"}},
	} {
		s.script(t, test.code, "", append([]string{"run"}, test.args...)...)
	}
}

// emptyVolume: beside Keepers that hold shares, nothing makes a new cluster out of it.
func emptyVolume(t *testing.T, s *Stack) {
	file := filepath.Join(t.TempDir(), "backup")
	s.script(t, 0, "", "backup", file)
	before := s.script(t, 0, "", "spike", "secret", "list").Stdout
	s.docker(t, "rm", "-f", s.container(t, "nexus"))
	s.docker(t, "volume", "rm", s.Name("data"))

	contains(t, s.script(t, 1, "", "up", "--no-build").Stderr, "its data is missing")
	contains(t, s.script(t, 1, "", "up", "--no-build", "--new").Stderr, "A Keeper holds a share already")
	contains(t, s.script(t, 0, "", "spike", "operator", "status").Stdout, "uninitialized")
	// What docker-compose itself would run, again and again.
	init := s.container(t, "init")
	s.docker(t, "start", init)
	if code := s.docker(t, "wait", init); code == "0" {
		t.Error("init has made a cluster beside Keepers that hold shares")
	}

	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(file, link))
	s.script(t, 0, "", "load", link)
	contains(t, s.script(t, 0, "", "up", "--no-build").Stdout, "Read the secret demo/hello, which was there")
	if after := s.script(t, 0, "", "spike", "secret", "list").Stdout; after != before {
		t.Errorf("loaded from the backup there are\n%s\nand there were\n%s", after, before)
	}
}

// others: a second checkout does not take these containers for its own, and of two
// calls that change the cluster one waits for the other.
func others(t *testing.T, s *Stack) {
	second := &Stack{root: bare(t), project: s.project, port: s.port}
	for _, command := range []string{"up", "down", "spike", "run", "backup", "load", "shards", "build", "ps", "logs", "start", "stop", "restart", "kill"} {
		args := map[string][]string{"run": {"superuser"}, "backup": {"x"}, "load": {"docker-compose.yaml"}, "shards": {"x"}}[command]
		contains(t, second.script(t, 1, "", append([]string{command}, args...)...).Stderr, "from the checkout "+s.root)
	}

	held, err := os.OpenFile(filepath.Join(s.root, "bin", ".compose-"+s.project+".lock"), os.O_RDWR, 0)
	must(t, err, syscall.Flock(int(held.Fd()), syscall.LOCK_EX))
	command := exec.CommandContext(t.Context(), filepath.Join(s.root, "scripts", "compose"), "up", "--no-build")
	command.Env = append(command.Environ(), s.Env()...)
	out, err := command.StdoutPipe()
	must(t, err, command.Start())
	reader := bufio.NewReader(out)
	line, err := reader.ReadString('\n')
	must(t, err)
	contains(t, line, "waiting for its end")
	must(t, held.Close())
	rest, err := io.ReadAll(reader)
	must(t, err, command.Wait())
	contains(t, string(rest), "The cluster "+s.project+" runs.")
}

// end: it asks, and nothing is left.
func end(t *testing.T, s *Stack) {
	said := s.script(t, 1, "yes\n", "down", "--destroy")
	contains(t, said.Stdout, s.Name("data")+": every secret")
	contains(t, said.Stderr, "nothing was destroyed")
	s.docker(t, "volume", "inspect", s.Name("data"))
	if running := s.docker(t, "inspect", "-f", "{{.State.Running}}", s.container(t, "nexus")); running != "true" {
		t.Error("Nexus does not run any more")
	}
	s.script(t, 0, s.project+"\n", "down", "--destroy")
	left, err := s.Left(t.Context())
	must(t, err)
	if len(left) > 0 {
		t.Errorf("there is left: %q", left)
	}
}

// guest: a container of somebody else's uses the cluster, and goes on when that is down.
func guest(t *testing.T, s *Stack) {
	name := s.project + "-guest"
	// It is there even when it does not start, and would keep all from being removed.
	defer s.docker(t, "rm", "-f", name)
	s.docker(t, "run", "-d", "--name", name, "--user", "18011:18011", "--network", s.Name("access"),
		"-e", "SPIFFE_ENDPOINT_SOCKET=unix:///workload-api/identity.sock", "-v", s.Name("workload-api")+":/workload-api:ro", s.project+"/keeper")
	contains(t, s.script(t, 1, "", "down", "--destroy", "--yes").Stderr, "nothing was destroyed: containers that are not the cluster's use its networks or volumes. If they may go: docker rm -f "+name)
	s.container(t, "nexus")
	contains(t, s.script(t, 0, "", "down").Stdout, "The networks stay, since containers that are not the cluster's use it: "+name)
	if running := s.docker(t, "ps", "--format", "{{.Names}}", "--filter", "network="+s.Name("access")); running != name {
		t.Errorf("in the network there is %q", running)
	}
}

// byItself runs a new cluster without scripts/compose, which finds it well afterwards.
// Its Workload API is served by a program of the host, at another address, as
// docs/guide/spire.md has it for SPIRE's agent: nothing in the cluster knows the
// difference. And a program of the host uses the published port.
func byItself(t *testing.T, s *Stack) {
	s.tool(t, "down", "-v")
	// Where users that own nothing can look into it.
	folder, err := os.MkdirTemp("", "spike-agent-")
	must(t, err, os.Chmod(folder, 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(folder)) })
	socket := filepath.Join(folder, "api.sock")
	provider := exec.CommandContext(t.Context(), filepath.Join(s.root, "bin", "identity"), "run",
		"--entries", filepath.Join(s.root, "config", "identity", "compose.yaml"), "--socket", socket)
	must(t, provider.Start())
	t.Cleanup(func() { _ = provider.Wait() }) // it ends with the test's context

	override := s.override(t, folder)
	s.more = []string{"SPIKE_COMPOSE_OVERRIDE=" + override}
	defer func() { s.more = nil }()
	for range 2 {
		s.tool(t, "-f", "docker-compose.yaml", "-f", override, "up", "-d")
		init := s.container(t, "init")
		if code := s.docker(t, "wait", init); code != "0" {
			t.Fatalf("init ended with %s:\n%s", code, s.docker(t, "logs", init))
		}
	}
	contains(t, s.script(t, 0, "", "up", "--no-build").Stdout, "Wrote the secret demo/hello")
	// What was laid over the file must not be taken away by a call that forgets it.
	s.more = nil
	for _, command := range [][]string{{"up", "--no-build"}, {"spike", "secret", "list"}} {
		contains(t, s.script(t, 1, "", command...).Stderr, "export COMPOSE_FILE="+filepath.Join(s.root, "docker-compose.yaml")+":"+override)
	}
	s.more = []string{"COMPOSE_FILE=" + filepath.Join(s.root, "docker-compose.yaml") + ":" + override}
	s.script(t, 0, "", "spike", "secret", "list")

	program := exec.CommandContext(t.Context(), filepath.Join(s.root, "bin", "spike"), "secret", "get", "demo/hello", "greeting")
	program.Env = []string{"SPIFFE_ENDPOINT_SOCKET=unix://" + socket, "SPIKE_NEXUS_API_URL=https://127.0.0.1:" + itoa(s.port)}
	program.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: Superuser, Gid: Superuser}}
	// The checkout is in a folder that this user cannot look into.
	opened, err := os.Open(program.Path)
	must(t, err)
	program.ExtraFiles, program.Path, program.Dir = []*os.File{opened}, "/proc/self/fd/3", "/"
	output, err := program.CombinedOutput()
	must(t, opened.Close())
	if err != nil || string(output) != "Hello from SPIKE" {
		t.Errorf("a program of the host: %v\n%s", err, output)
	}
}

// override is the file of docs/guide/spire.md that puts an agent's folder in place.
func (s *Stack) override(t *testing.T, folder string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(s.root, "docs", "guide", "spire.md"))
	must(t, err)
	_, block, _ := strings.Cut(string(page), "```yaml\n")
	block, _, found := strings.Cut(block, "```\n")
	const agents = "/run/spire/agent-sockets"
	if !found || !strings.Contains(block, agents) {
		t.Fatal("the page has no such file")
	}
	name := filepath.Join(t.TempDir(), "override.yaml")
	must(t, os.WriteFile(name, []byte(strings.ReplaceAll(block, agents, folder)), 0o600))
	return name
}

// tool runs Compose itself, whichever there is.
func (s *Stack) tool(t *testing.T, args ...string) {
	t.Helper()
	command := s.compose(t)
	_, err := s.must(t.Context(), nil, command[0], append(command[1:], args...)...)
	must(t, err)
}

func (s *Stack) compose(t *testing.T) []string {
	t.Helper()
	r, err := s.Run(t.Context(), nil, "docker", "compose", "version")
	must(t, err)
	if r.Code != 0 {
		return []string{"docker-compose"}
	}
	return []string{"docker", "compose"}
}

// TestDrills holds them all, as scripts/drill does.
func TestDrills(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), filepath.Join(checkout, "scripts", "drill"), "--compose", "--secrets", "30")
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = checkout, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	t.Logf("\n%s", out)
	// The secret of scripts/compose is there as well.
	if lines := regexp.MustCompile(`(?m)^.*? {2,}PASS +\d+\.\d+ s +31$`).FindAll(out, -1); len(lines) != 6 {
		t.Errorf("%d of 6 drills have a line with a PASS", len(lines))
	}
}
