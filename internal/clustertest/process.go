package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is more than any of the programs takes to end in an orderly way.
const stopTime = 20 * time.Second

// Process is one program of a cluster. It can be ended and started again any
// number of times; its log goes on in one file. Its methods may be called from
// several goroutines.
type Process struct {
	name string
	path string
	args []string
	env  []string
	log  string // a file, for standard error; standard output goes beside it

	mu      sync.Mutex
	current *life // nil until the first start
}

// life is the time from one start of a process to its end.
type life struct {
	process *os.Process
	ended   chan struct{}
	err     error // of Wait; to be read once ended is closed
}

// Name is what the process is called in errors, such as "keeper-2".
func (p *Process) Name() string { return p.name }

// Start starts the process, with env in addition to its usual environment. It
// does not wait until it serves.
func (p *Process) Start(env ...string) error { return p.StartBy(nil, env...) }

// StartBy has another command start the process, which is given the process's own
// command as further arguments, and puts it in its place.
func (p *Process) StartBy(launcher []string, env ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && !p.current.over() {
		return fmt.Errorf("%s runs already", p.name)
	}
	output, err := os.OpenFile(p.output(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	// The child has its own copies of both descriptors.
	defer func() { _ = output.Close() }()
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	command := slices.Concat(launcher, []string{p.path}, p.args)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(append([]string{}, p.env...), env...)
	cmd.Stdout, cmd.Stderr = output, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.current, err = launch(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

// launch starts cmd on a thread that lasts as long as the child does: the child
// gets its death signal when the thread that started it ends, which is how it
// cannot outlive us, and must not happen before.
func launch(cmd *exec.Cmd) (*life, error) {
	l := &life{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		l.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		l.err = cmd.Wait()
		close(l.ended)
	}()
	return l, <-started
}

func (l *life) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (p *Process) life() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// Running reports whether the process has been started and has not ended.
func (p *Process) Running() bool {
	l := p.life()
	return l != nil && !l.over()
}

// PID is the process id of the last start, or 0.
func (p *Process) PID() int {
	if l := p.life(); l != nil {
		return l.process.Pid
	}
	return 0
}

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error {
	l := p.life()
	if l == nil {
		return fmt.Errorf("%s was never started", p.name)
	}
	if err := l.process.Signal(s); err != nil {
		return fmt.Errorf("%s: send %s: %w", p.name, s, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits for its end. One that has ended
// is left as it is.
func (p *Process) Kill() error {
	l := p.life()
	if l == nil || l.over() {
		return nil
	}
	if err := l.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-l.ended
	return nil
}

// Stop ends the process with SIGTERM, waits for its end, and returns an error
// unless it ended in good order.
func (p *Process) Stop() error {
	l := p.life()
	if l == nil || l.over() {
		return nil
	}
	if err := l.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-l.ended:
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM", p.name, stopTime), p.Kill())
	}
	if l.err != nil {
		return fmt.Errorf("%s did not end in good order: %w", p.name, l.err)
	}
	return nil
}

// Freeze stops the process where it is, until Thaw: its connections stay and its
// memory too, but it answers nobody.
func (p *Process) Freeze() error { return p.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }

// Ended waits until the process has ended, and returns how: nil for exit code 0.
// The second error is that ctx ended first.
func (p *Process) Ended(ctx context.Context) (exit, err error) {
	l := p.life()
	if l == nil {
		return nil, fmt.Errorf("%s was never started", p.name)
	}
	select {
	case <-l.ended:
		return l.err, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s has not ended: %w", p.name, ctx.Err())
	}
}

// Resident is the process's resident memory in bytes.
func (p *Process) Resident() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("memory of %s: it has ended", p.name)
}

// Log returns everything that the process wrote to standard error since the
// cluster's start.
func (p *Process) Log() string { return read(p.log) }

// Output returns everything that it wrote to standard output.
func (p *Process) Output() string { return read(p.output()) }

func (p *Process) output() string {
	return strings.TrimSuffix(p.log, filepath.Ext(p.log)) + ".out"
}

// read is for people and for assertions on what was written: a file that is not
// there has nothing in it.
func read(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(content)
}

// tail returns the last n lines.
func tail(text string, n int) string {
	lines := bytes.SplitAfter([]byte(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n-1):], nil))
}
