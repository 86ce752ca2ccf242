package torture

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/clustertest"
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

// region is one mapping of a process.
type region struct {
	from, to uint64
	name     string
	resident uint64   // kB
	flags    []string // as in proc_pid_smaps(5)
}

func (r *region) has(flag string) bool {
	for _, f := range r.flags {
		if f == flag {
			return true
		}
	}
	return false
}

func regions(t *testing.T, pid int) []region {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	must(t, err)
	defer func() { _ = file.Close() }()
	var list []region
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r region
		var mode string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &r.from, &r.to, &mode); n == 3 {
			if fields := strings.Fields(lines.Text()); len(fields) > 5 {
				r.name = fields[5]
			}
			list = append(list, r)
		} else if rss, ok := strings.CutPrefix(lines.Text(), "Rss:"); ok {
			_, err := fmt.Sscan(rss, &list[len(list)-1].resident)
			must(t, err)
		} else if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok {
			list[len(list)-1].flags = strings.Fields(flags)
		}
	}
	return list
}

// inMemory looks for key material in the memory of the servers. Where it is kept,
// the page is locked and left out of core files. What the heap still has of it,
// because libraries copied it, is told.
func inMemory(t *testing.T, c *clustertest.Cluster, keys *traces) {
	t.Helper()
	var forms []form // those that are handled in memory
	for _, f := range keys.forms {
		if strings.HasSuffix(f.name, "as it is") || strings.HasSuffix(f.name, "as numbers in JSON") {
			forms = append(forms, f)
		}
	}
	for _, p := range append(c.Keepers(), c.Nexus()) {
		memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.PID()))
		must(t, err)
		kept, stray := map[string]bool{}, map[string]int{}
		for _, r := range regions(t, p.PID()) {
			if strings.HasPrefix(r.name, "[v") || r.resident == 0 {
				continue // the kernel's own, or only reserved
			}
			content := make([]byte, r.to-r.from)
			if _, err := memory.ReadAt(content, int64(r.from)); err != nil {
				continue // it went away meanwhile
			}
			for _, f := range forms {
				n := bytes.Count(content, f.bytes)
				if n > 0 && r.has("dd") && r.has("lo") {
					kept[f.name] = true
				} else if n > 0 {
					stray[f.name] += n
				}
			}
		}
		must(t, memory.Close())
		want := map[bool]int{true: 7, false: 1}[p == c.Nexus()]
		if len(kept) < want {
			t.Errorf("%s keeps %v on pages that are locked and not dumped; want %d", p.Name(), kept, want)
		}
		t.Logf("%s: on locked pages %v; elsewhere in its memory %v", p.Name(), kept, stray)
	}
}
