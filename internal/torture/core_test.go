package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/trace"
)

// allowCore lets this process and its children write core files, if they want to
// and as far as it may allow it.
func allowCore(t *testing.T) {
	t.Helper()
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_CORE, &limit))
	before := limit
	if os.Getuid() == 0 {
		limit.Max = ^uint64(0)
	}
	limit.Cur = limit.Max
	must(t, syscall.Setrlimit(syscall.RLIMIT_CORE, &limit))
	t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_CORE, &before)) })
}

// noCore ends Nexus in a way that leaves a core file where one may be written,
// and looks for one.
func noCore(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	for _, p := range append(c.Keepers(), c.Nexus()) {
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID()))
		must(t, err)
		for line := range strings.Lines(string(limits)) {
			if strings.HasPrefix(line, "Max core file size") && strings.Join(strings.Fields(line)[4:6], " ") != "0 0" {
				t.Errorf("%s may write a core file: %s", p.Name(), line)
			}
		}
	}
	folder, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", c.Nexus().PID()))
	must(t, err)
	must(t, c.Nexus().Signal(syscall.SIGABRT))
	exit, err := c.Nexus().Ended(t.Context())
	must(t, err)
	if exit == nil || !strings.Contains(exit.Error(), "abort") {
		t.Errorf("Nexus ended with %v", exit)
	}
	if exit != nil && strings.Contains(exit.Error(), "core dumped") {
		t.Error("Nexus dumped core")
	}
	if !strings.Contains(c.Nexus().Log(), "goroutine 1 ") {
		t.Error("Nexus did not print its stacks: nothing was looked at")
	}
	found, err := filepath.Glob(filepath.Join(folder, "core*"))
	must(t, err)
	for _, name := range found {
		if filepath.Ext(name) != ".go" {
			t.Errorf("there is a core file: %s", name)
		}
	}
}

// inMemory looks for key material in the memory of the servers. Where it is kept,
// the page is locked and left out of core files. Elsewhere is only what is known to
// be: copies that libraries make.
func inMemory(t *testing.T, c *clustertest.Cluster, keys *trace.Set) {
	t.Helper()
	look := func(p *clustertest.Process, allowed func(trace.Found) bool, kept ...string) {
		t.Helper()
		m, err := keys.InProcess(p.PID())
		must(t, err)
		for _, name := range kept {
			if m.Locked[trace.Found{Name: name, How: trace.AsItIs}] == 0 {
				t.Errorf("%s does not have %s on a page that is locked and left out of core files", p.Name(), name)
			}
		}
		for _, found := range trace.Refused(m.Others, allowed) {
			t.Errorf("ordinary memory of %s has %s", p.Name(), found)
		}
		t.Logf("%s: on locked pages %v; elsewhere in its memory %v", p.Name(), m.Locked, m.Others)
	}
	kept := trace.KeptByNexus()
	for i, p := range c.Keepers() {
		share := fmt.Sprintf("the share of Keeper %d", i+1)
		look(p, trace.OrdinaryInKeeper, share)
		kept = append(kept, share, fmt.Sprintf("paper shard %d", i+1))
	}
	look(c.Nexus(), trace.OrdinaryInNexus, kept...)
}
