package composetest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRootKey begins with a cluster that docker-compose alone has made: no recovery
// shards are kept for it but those that its people export. It is in memory alone, and no
// command may lose it unasked.
func TestRootKey(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.more = []string{"SPIKE_SYSTEM_LOG_LEVEL=INFO"}
	paper := byHand(t, s)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *Stack)
	}{
		{"nothing ends it", refusals},
		{"made anew", madeAnew},
		{"down, by force", func(t *testing.T, s *Stack) { forced(t, s, paper) }},
		{"another cluster beside its shards", another},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			return // what comes then depends on it
		}
	}
}

// byHand runs the commands that the page has for docker-compose itself, and returns the
// folder with the shards that they copy out.
func byHand(t *testing.T, s *Stack) (paper string) {
	t.Helper()
	commands := s.block(t, "docs/compose.md", "```text\nscripts/compose build\n")
	paper = filepath.Join(t.TempDir(), "paper")
	commands = strings.NewReplacer("shards paper", "shards "+paper, "spike_", s.Name(""),
		"docker-compose ", strings.Join(s.compose(t), " ")+" ").Replace(commands)
	_, err := s.must(t.Context(), nil, "/bin/bash", "-euc", commands)
	must(t, err)
	return paper
}

func (s *Stack) ids(t *testing.T) (list []string) {
	t.Helper()
	for _, service := range []string{"identity", "keeper-1", "keeper-2", "keeper-3", "nexus"} {
		list = append(list, s.container(t, service))
	}
	return list
}

// refusals: what would end too many at once is not done, and what is harmless is.
func refusals(t *testing.T, s *Stack) {
	before := s.ids(t)
	var said string
	for _, command := range [][]string{
		{"down"}, {"kill", "-s", "SIGKILL"}, {"restart", "nexus", "keeper-3", "keeper-1"},
	} {
		said = s.script(t, 1, "", command...).Stderr
		contains(t, said, "nothing was ended: the root key would be lost.")
		contains(t, said, "scripts/compose "+command[0]+" --force")
	}
	s.script(t, 0, "", "restart", "keeper-1")
	s.script(t, 0, "", "restart", "nexus")
	if after := s.ids(t); !slices.Equal(before, after) {
		t.Errorf("the containers are %q, and were %q", after, before)
	}
	// Where Nexus cannot be asked, nobody knows.
	s.docker(t, "stop", s.container(t, "nexus"))
	contains(t, s.script(t, 1, "", "down").Stderr, "only Nexus knows")
	s.docker(t, "start", s.container(t, "nexus"))
	s.opens(t)

	// What a refusal says to type is what makes it go on.
	command := regexp.MustCompile(`scripts/compose spike (operator recover --dir /recovery/[0-9a-f]{32})`).FindStringSubmatch(said)
	if command == nil {
		t.Fatalf("it does not say how shards are kept:\n%s", said)
	}
	s.script(t, 0, "", append([]string{"spike"}, strings.Fields(command[1])...)...)
	s.script(t, 0, "", "restart")
	contains(t, s.script(t, 0, "", "up", "--no-build").Stdout, "Feeding in the recovery shards")
	s.docker(t, "volume", "rm", s.Name("recovery"))
}

// opens waits until Nexus serves again.
func (s *Stack) opens(t *testing.T) {
	t.Helper()
	for {
		r, err := s.Run(t.Context(), nil, filepath.Join(s.root, "scripts", "compose"), "spike", "operator", "status", "--check")
		must(t, err) // the test's time ends it
		if r.Code == 0 {
			return
		}
	}
}

// madeAnew: with other settings every container is another, and the key was in memory
// all the time. With the same, none is.
func madeAnew(t *testing.T, s *Stack) {
	before := s.ids(t)
	s.more = []string{"SPIKE_SYSTEM_LOG_LEVEL=DEBUG"}
	out := s.script(t, 0, "", "up", "--no-build").Stdout
	after := s.ids(t)
	for i := range before {
		if before[i] == after[i] {
			t.Errorf("the container %s is the one that was there before", after[i])
		}
	}
	contains(t, out, "Read the secret demo/hello, which was there")
	if strings.Contains(out, "Feeding in") {
		t.Errorf("the root key was gone in between:\n%s", out)
	}
	// The shards were written before anything was ended.
	contains(t, s.script(t, 0, "", "down").Stdout, s.Name("data")+"; scripts/compose up brings it back.")

	contains(t, s.script(t, 0, "", "up", "--no-build").Stdout, "Feeding in the recovery shards")
	before = s.ids(t)
	s.script(t, 0, "", "up", "--no-build")
	if after := s.ids(t); !slices.Equal(before, after) {
		t.Errorf("nothing was changed, and the containers are %q, and were %q", after, before)
	}
	// A superuser who has nothing more to do.
	if left := s.docker(t, "ps", "-aq", "--filter", s.label(), "--filter", "label=com.docker.compose.service=init"); left != "" {
		t.Errorf("the container of init is there: %s", left)
	}
}

// forced: what is said at the end is what is true, and paper brings it back.
func forced(t *testing.T, s *Stack, paper string) {
	s.docker(t, "volume", "rm", s.Name("recovery"))
	contains(t, s.script(t, 1, "", "down").Stderr, "nothing was ended")
	out := s.script(t, 0, "", "down", "--force").Stdout
	contains(t, out, "people bring the root key back")
	if strings.Contains(out, "brings it back") {
		t.Errorf("it promises too much: %s", out)
	}
	contains(t, s.script(t, 0, "", "down").Stdout, "There were no containers")
	contains(t, s.script(t, 1, "", "up", "--no-build").Stderr, "Bring yours")
	// Now there is no key in memory, and nothing to lose.
	s.script(t, 0, "", "restart", "keeper-1", "nexus", "keeper-2")
	for _, name := range []string{"shard-1.txt", "shard-3.txt"} {
		shard, err := os.ReadFile(filepath.Join(paper, name))
		must(t, err)
		s.script(t, 0, string(shard), "spike", "operator", "restore")
	}
	contains(t, s.script(t, 0, "", "up", "--no-build").Stdout, "Read the secret demo/hello, which was there")
}

// another: an empty data volume is more likely a mistake, unless it is said to be none.
func another(t *testing.T, s *Stack) {
	s.script(t, 0, "", "down")
	s.docker(t, "volume", "rm", s.Name("data"))
	contains(t, s.script(t, 1, "", "up", "--no-build").Stderr, "its data is missing")
	contains(t, s.script(t, 0, "", "up", "--no-build", "--new").Stdout, "Wrote the secret demo/hello")
	contains(t, s.script(t, 0, "", "down").Stdout, "brings it back")
}
