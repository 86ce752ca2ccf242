package storetest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Intercepted stands between this process and the kernel at every call of some
// kind. It uses seccomp's notifications, which need no privilege, no tracer and no
// file system of their own, and see the calls of C-like code that goes straight to
// the kernel.
type Intercepted struct {
	listener int

	mu     sync.Mutex
	decide func(path string) error
}

// The kernel's struct seccomp_notif and seccomp_notif_resp.
type (
	seccompData struct {
		nr, arch uint32
		ip       uint64
		args     [6]uint64
	}
	seccompNotice struct {
		id         uint64
		pid, flags uint32
		data       seccompData
	}
	seccompAnswer struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
)

// InterceptFlushes begins to intercept fsync and fdatasync. A filter cannot be taken
// back, and so the goroutine behind it runs to the end of the process: use it in a
// process that was started for one test.
func InterceptFlushes() (*Intercepted, error) {
	return intercept(unix.SYS_FSYNC, unix.SYS_FDATASYNC)
}

// InterceptWrites does so with pwrite, by which SQLite writes.
func InterceptWrites() (*Intercepted, error) { return intercept(unix.SYS_PWRITE64, unix.SYS_PWRITE64) }

func intercept(one, other uint32) (*Intercepted, error) {
	arch, ok := map[string]uint32{
		"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64,
	}[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("calls cannot be intercepted on %s", runtime.GOARCH)
	}
	const load, equal, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load, K: 4}, // seccomp_data.arch
		{Code: equal, K: arch, Jf: 4},
		{Code: load, K: 0}, // seccomp_data.nr
		{Code: equal, K: one, Jt: 1},
		{Code: equal, K: other, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}

	runtime.LockOSThread() // what the first call sets is this thread's own
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("no new privileges: %w", err)
	}
	// Without the last flag, the signals that Go's runtime sends to its threads
	// would end a call that waits for its answer, and begin it anew.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC |
		unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return nil, fmt.Errorf("install the filter: %w", errno)
	}
	f := &Intercepted{listener: int(listener)}
	go f.serve()
	return f, nil
}

// Decide has decide called, from now on, with the path of the file that the call is
// about. When it returns an error, the call fails with it, or with EIO if it is none
// of the system's, and is not done.
func (f *Intercepted) Decide(decide func(path string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

func (f *Intercepted) serve() {
	for {
		var notice seccompNotice
		errno := f.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&notice))
		if errno == unix.EINTR || errno == unix.ENOENT { // ENOENT: a signal came before it was received
			continue
		} else if errno != 0 {
			panic(fmt.Sprintf("receive a call: %v", errno)) // every call would hang
		}
		answer := seccompAnswer{id: notice.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if err := f.ask(int(int32(notice.data.args[0]))); err != nil {
			errno := unix.EIO
			_ = errors.As(err, &errno) // otherwise it stays what it is
			answer = seccompAnswer{id: notice.id, errno: -int32(errno)}
		}
		if errno := f.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)); errno != 0 {
			panic(fmt.Sprintf("answer a call: %v", errno))
		}
	}
}

func (f *Intercepted) ask(fd int) error {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.decide == nil {
		return nil
	}
	return f.decide(path)
}

func (f *Intercepted) ioctl(request uintptr, argument unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.listener), request, uintptr(argument))
	return errno
}
