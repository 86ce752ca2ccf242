package trace

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoCoreFile is returned where the kernel writes no core file that could be
// found: it hands them to a program, or this user may not have any.
var ErrNoCoreFile = errors.New("no core file can be had here")

// CoreFiles returns an error unless core files are to be had.
func CoreFiles() error {
	how, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		return fmt.Errorf("how core files are written: %w", err)
	}
	if name := strings.TrimSpace(string(how)); strings.ContainsAny(name, "|/") || !strings.HasPrefix(name, "core") {
		return fmt.Errorf("%w: the kernel's core_pattern is %q", ErrNoCoreFile, name)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return fmt.Errorf("the limit on core files: %w", err)
	}
	if limit.Max != unix.RLIM_INFINITY {
		return fmt.Errorf("%w: they may have %d bytes at most", ErrNoCoreFile, limit.Max)
	}
	return nil
}

// ExecForcing puts a program in the place of this one, in a folder, which from then
// on cannot forbid itself to write core files: the kernel tells it that it did, and
// does nothing. So whoever starts a program can do to it what no limit would let
// him do later. It returns only with an error.
func ExecForcing(folder string, command, env []string) error {
	if err := CoreFiles(); err != nil {
		return err
	}
	if err := os.Chdir(folder); err != nil {
		return fmt.Errorf("where core files are to be: %w", err)
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unlimited); err != nil {
		return fmt.Errorf("allow core files: %w", err)
	}
	// The filter is this thread's, and goes with it into the program.
	runtime.LockOSThread()
	if err := deafen(); err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return fmt.Errorf("start %s: %w", command[0], unix.Exec(command[0], command, env))
}

// deafen has the kernel pass over each change of the limit on core files.
func deafen() error {
	const (
		number = 0  // where a filter finds the call's number
		first  = 16 // and the lower half of its first argument
		second = 24
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, K: unix.SYS_SETRLIMIT, Jt: 2},
		{Code: equal, K: unix.SYS_PRLIMIT64, Jt: 3},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: load, K: first},
		{Code: equal, K: unix.RLIMIT_CORE, Jt: 2, Jf: 3},
		{Code: load, K: second},
		{Code: equal, K: unix.RLIMIT_CORE, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO}, // with errno 0, which is success
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0) //nolint:gosec // that is how the kernel is given it
	runtime.KeepAlive(program)
	return err
}

// InCore looks into a core file. It returns an error when one of pages is in it.
func (s *Set) InCore(name string, pages []uint64) (map[Found]int, error) {
	file, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("core file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if file.Type != elf.ET_CORE {
		return nil, fmt.Errorf("%s is no core file but of type %s", name, file.Type)
	}
	size := uint64(os.Getpagesize())
	for _, p := range file.Progs {
		there := func(page uint64) bool { return page+size > p.Vaddr && page < p.Vaddr+p.Filesz }
		if p.Type == elf.PT_LOAD && slices.ContainsFunc(pages, there) {
			return nil, fmt.Errorf("a page that has a key is in %s", name)
		}
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("core file: %w", err)
	}
	return s.In(withoutZeros(content)), nil
}

// withoutZeros moves the pages that are not all zero together: most of a Go
// program's memory is.
func withoutZeros(content []byte) []byte {
	size := os.Getpagesize()
	zero := make([]byte, size)
	kept := content[:0]
	for at := 0; at < len(content); at += size {
		page := content[at:min(at+size, len(content))]
		if !bytes.Equal(page, zero[:len(page)]) {
			kept = append(kept, page...)
		}
	}
	return kept
}
