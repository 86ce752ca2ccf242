package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Machine is what the figures depend on, as far as the machine tells.
type Machine struct {
	Processor  string `json:"processor"`
	Processors int    `json:"processors"`
	Memory     string `json:"memory"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"fileSystem"` // of the folder that is measured
	Device     string `json:"device"`
	Go         string `json:"go"`
}

// DescribeMachine asks the kernel. folder is the one that is measured.
func DescribeMachine(folder string) (Machine, error) {
	m := Machine{Processors: runtime.NumCPU(), Go: runtime.Version()}
	cpu, err1 := field("/proc/cpuinfo", "model name")
	memory, err2 := field("/proc/meminfo", "MemTotal")
	kernel, err3 := os.ReadFile("/proc/sys/kernel/osrelease")
	if err := errors.Join(err1, err2, err3); err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	m.Processor, m.Memory, m.Kernel = cpu, gigabytes(memory), strings.TrimSpace(string(kernel))
	var err error
	m.FileSystem, m.Device, err = mount(folder)
	return m, err
}

// field returns what stands behind a name and a colon.
func field(file, name string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if before, after, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(before) == name {
			return strings.TrimSpace(after), nil
		}
	}
	// Processors of other kinds have other names for it.
	return "unknown", nil
}

// mount says what a folder is on: of all mounts above it, the one that is deepest.
func mount(folder string) (kind, device string, err error) {
	content, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", "", err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return "", "", err
	}
	deepest := -1
	for line := range strings.Lines(string(content)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < deepest || !strings.HasPrefix(folder+"/", strings.TrimSuffix(f[1], "/")+"/") {
			continue
		}
		deepest, kind, device = len(f[1]), f[2], f[0]
	}
	if deepest < 0 {
		return "", "", fmt.Errorf("%s is on no file system that /proc/self/mounts knows: %w", folder, syscall.ENOENT)
	}
	return kind, device, nil
}

// gigabytes writes what the kernel has as "24684092 kB", by which it means KiB, in GB.
func gigabytes(memory string) string {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(memory, " kB"), 64)
	if err != nil {
		return memory
	}
	return fmt.Sprintf("%.1f GB", kib*1024/1e9)
}
