package sqlite_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const childVariable = "SPIKE_STORE_TEST_CHILD"

// childCommand is this test again, in a process of its own.
func childCommand(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	// Another user may not reach the test binary by its name, but by this one.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), childVariable+"="+role)
	return cmd
}

// child is the role that this process was started for, or nothing.
func child() string { return os.Getenv(childVariable) }

// isolated runs the calling test in a process of its own, and reports whether
// this is that process.
func isolated(t *testing.T, attr *syscall.SysProcAttr, env ...string) bool {
	t.Helper()
	if child() != "" {
		return true
	}
	cmd := childCommand(t, "isolated")
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		if len(out) == 0 && os.Getuid() != 0 && os.Getenv("CI") == "" {
			t.Skipf("this machine gives an ordinary user no mounts of their own: %v", err)
		}
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	t.Logf("in a process of its own:\n%s", out)
	return false
}

// withMounts lets a process mount what only itself can see: as root, or as a
// user who is root in a namespace.
func withMounts() *syscall.SysProcAttr {
	if os.Getuid() == 0 {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// smallDisk mounts a disk of so many bytes, in a process that is isolated
// withMounts.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make the mounts private: %v", err)
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatalf("mount a disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the disk: %v", err)
		}
	})
	return disk
}

// startChild starts a child and returns the lines that it prints with a "> "
// before them. The channel is closed when it has ended.
func startChild(t *testing.T, cmd *exec.Cmd) <-chan string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			if line, ok := strings.CutPrefix(scanner.Text(), "> "); ok {
				lines <- line
			}
		}
	}()
	return lines
}
