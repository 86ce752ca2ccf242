package attest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	errOtherNamespace = errors.New("the process is in another PID namespace, so its executable cannot be seen")
	errEnded          = errors.New("the process that opened the connection has ended")
)

// ticksPerSecond is the unit of start times in /proc. It is part of the
// kernel's interface and 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// process pins one process: as long as its pidfd is open, a new process that is
// given the same pid cannot be mistaken for it.
type process struct {
	pid   int32
	pidfd *os.File
}

// pin takes hold of the process at the other end of the socket fd. acceptedAt
// is the time since boot at which the connection was accepted.
func pin(fd int, pid int32, acceptedAt time.Duration) (*process, error) {
	if pid == 0 {
		return nil, errOtherNamespace
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		return &process{pid: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd")}, nil
	case errors.Is(err, unix.ENOPROTOOPT):
		return pinByPID(pid, acceptedAt)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL):
		// Both are what kernels say of a process that is gone already.
		return nil, errEnded
	default:
		return nil, fmt.Errorf("take hold of process %d: %w", pid, err)
	}
}

// pinByPID serves kernels before 6.5, which cannot give a pidfd for a socket. A
// process that started after the connection was accepted is not the one that
// opened it. What remains is the moment between connect and accept.
func pinByPID(pid int32, acceptedAt time.Duration) (*process, error) {
	pidfd, err := unix.PidfdOpen(int(pid), 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, errEnded
	} else if err != nil {
		return nil, fmt.Errorf("take hold of process %d: %w", pid, err)
	}
	p := &process{pid: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd")}
	started, err := startTime(pid)
	if err == nil && started > acceptedAt {
		err = errEnded
	}
	if err == nil {
		err = p.alive()
	}
	if err != nil {
		return nil, errors.Join(err, p.pidfd.Close())
	}
	return p, nil
}

// alive tells whether the pinned process still runs. After it said yes, whatever
// was read from /proc under that pid before was about this process.
func (p *process) alive() error {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("ask after process %d: %w", p.pid, err)
	}
	ended, pollErr := false, error(nil)
	// Control keeps the descriptor from being closed, and its number from being
	// given to something else, while it is polled.
	err = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			ended, pollErr = n > 0, err
			return
		}
	})
	if err = errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("ask after process %d: %w", p.pid, err)
	}
	if ended {
		return errEnded
	}
	return nil
}

// executable returns which file the process runs now, and the name that the
// kernel has for it.
func (p *process) executable() (FileID, string, error) {
	link := "/proc/" + strconv.Itoa(int(p.pid)) + "/exe"
	id, err := fileID(link)
	if err != nil {
		if gone := p.alive(); gone != nil {
			return FileID{}, "", gone
		}
		return FileID{}, "", err
	}
	name, err := os.Readlink(link)
	if err != nil {
		return FileID{}, "", err
	}
	if err := p.alive(); err != nil {
		return FileID{}, "", err
	}
	return id, name, nil
}

func (p *process) close() error {
	return p.pidfd.Close()
}

// startTime returns when the process started, since boot, to a hundredth of a
// second and rounded down.
func startTime(pid int32) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	// The second field is the program's name in parentheses, which may itself
	// hold blanks and parentheses; the start time is field 22.
	_, rest, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("start time of process %d: unexpected form of /proc/PID/stat", pid)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 63)
	if err != nil {
		return 0, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// sinceBoot reads the clock that process start times are given in.
func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// FileID tells files apart by what they are, not by name.
type FileID struct {
	dev, ino uint64
}

// fileID follows symbolic links.
func fileID(name string) (FileID, error) {
	var st unix.Stat_t
	for {
		err := unix.Stat(name, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return FileID{}, &os.PathError{Op: "stat", Path: name, Err: err}
		}
		return FileID{dev: uint64(st.Dev), ino: st.Ino}, nil
	}
}
