package torture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPowerLoss cuts the power of Nexus's disk at random moments under load: what
// was not flushed goes, wholly or in part.
func TestPowerLoss(t *testing.T) {
	if !isolated(t) {
		return
	}
	l, d := newLoadOnDisk(t, 0)
	must(t, l.run(*outages, noEnv, func(int) error { return l.powerCut(d) }))
	must(t, l.check())
	l.wasBusy(*outages)
}

// TestPowerLossOfLiar has a disk whose flushes do nothing. What is lost on it must
// be noticed.
func TestPowerLossOfLiar(t *testing.T) {
	if !isolated(t) {
		return
	}
	l, d := newLoadOnDisk(t, 0)
	d.mu.Lock()
	d.lies = true
	d.mu.Unlock()
	// A cut can fall where there is nothing to lose, so it takes several.
	err := errors.Join(l.run(20, noEnv, func(int) error { return l.powerCut(d) }), l.check())
	if err == nil {
		t.Error("nobody noticed")
	}
	t.Log(err)
}

func newLoadOnDisk(t *testing.T, slow time.Duration) (*load, *disk) {
	t.Helper()
	d := newDisk(t, slow)
	return newLoad(t, newCluster(t, "SPIKE_NEXUS_DATA_DIR="+d.folder)), d
}

// powerCut lets Nexus live for a while, cuts the power, and brings it back.
func (l *load) powerCut(d *disk) error {
	if rand.IntN(8) > 0 {
		if err := l.serves(); err != nil {
			return err
		}
	}
	time.Sleep(rand.N(400 * time.Millisecond))
	d.cutPower()
	if err := l.cluster.Nexus().Kill(); err != nil {
		return err
	}
	return d.restorePower()
}

const (
	isolatedVariable = "SPIKE_TORTURE_ISOLATED"
	programsVariable = "SPIKE_TORTURE_PROGRAMS"
)

// isolated runs the calling test in a process of its own that can mount what only
// it and its children see, and reports whether this is that process. However it
// ends, its mounts end with it.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedVariable) != "" {
		must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
		return true
	}
	if os.Getuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root may mount a disk of its own")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1",
		fmt.Sprintf("-outages=%d", *outages))
	cmd.Env = append(os.Environ(), isolatedVariable+"=1", programsVariable+"="+programs)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("in a process of its own: %v", err)
	}
	t.Logf("%s", output)
	return false
}
