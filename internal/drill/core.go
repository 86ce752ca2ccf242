package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/trace"
)

// forcing is the argument by which this program starts another that cannot forbid
// itself to write a core file; see [trace.ExecForcing].
const forcing = "forcing-core"

// coreForced is about whoever has the means to make Nexus and a Keeper write core
// files against their will. The pages that have keys are not in those. Both are
// brought back as after any other end.
func coreForced(ctx context.Context, f *field) (time.Duration, error) {
	c := f.cluster()
	err := trace.CoreFiles()
	real := err == nil
	if !real && !errors.Is(err, trace.ErrNoCoreFile) {
		return 0, err
	}
	if !real {
		f.remark = fmt.Sprintf("%s. The memory that would be in a core file was searched in its place.", err)
	}
	// Both get their keys anew, the one from the other.
	for _, p := range []*clustertest.Process{c.Keeper(1), c.Nexus()} {
		if err := errors.Join(p.Kill(), f.startForced(p, real)); err != nil {
			return 0, err
		}
		if _, err := c.WaitHealthy(ctx); err != nil {
			return 0, err
		}
	}
	if err := f.compare(ctx); err != nil {
		return 0, err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range []subject{
		{c.Nexus(), "drilled 0.0", trace.KeptByNexus(), trace.OrdinaryInNexus},
		{c.Keeper(1), status.Cluster, []string{"the share of Keeper 1"}, trace.OrdinaryInKeeper},
	} {
		if err := f.searchCore(ctx, &s, real); err != nil {
			return 0, err
		}
	}
	return f.clock(ctx, func() error { return errors.Join(c.Nexus().Start(), c.Keeper(1).Start()) })
}

// startForced starts a process that writes a core file when it aborts, where that
// can be had.
func (f *field) startForced(p *clustertest.Process, real bool) error {
	if !real {
		return p.Start()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	folder := filepath.Join(f.cluster().Dir(), "run")
	return p.StartBy([]string{self, forcing, folder}, "GOTRACEBACK=crash")
}

// subject is a process whose core file is looked into. What is known to be in it
// shows that it is looked into at all.
type subject struct {
	*clustertest.Process
	mark    string
	kept    []string // the keys that it has, where they are to be
	allowed func(trace.Found) bool
}

// searchCore ends a process with a core file and looks into that. Where none can be
// had, it looks into the memory that would be in one.
func (f *field) searchCore(ctx context.Context, s *subject, real bool) error {
	memory, err := f.keys.InProcess(s.PID())
	if err != nil {
		return err
	}
	for _, name := range s.kept {
		if memory.Locked[trace.Found{Name: name, How: trace.AsItIs}] == 0 {
			return fmt.Errorf("%s does not have %s on a page that is locked and left out of core files", s.Name(), name)
		}
	}
	var mark trace.Set
	mark.Add("the mark", []byte(s.mark))
	marked, err := mark.InProcess(s.PID())
	if err != nil {
		return err
	}
	found := memory.Others
	if real {
		name, err := abort(ctx, s.Process)
		if err != nil {
			return err
		}
		if marked.Others, err = mark.InCore(name, nil); err != nil {
			return err
		}
		if found, err = f.keys.InCore(name, memory.Pages); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	} else if err := s.Kill(); err != nil {
		return err
	}
	if len(marked.Others) == 0 {
		return fmt.Errorf("not even %q was found in %s", s.mark, s.Name())
	}
	if list := trace.Refused(found, s.allowed); len(list) > 0 {
		return fmt.Errorf("a core file of %s has %s", s.Name(), strings.Join(list, ", "))
	}
	return nil
}

// abort ends a process and returns the core file that it wrote.
func abort(ctx context.Context, p *clustertest.Process) (string, error) {
	folder, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID()))
	if err != nil {
		return "", err
	}
	if err := p.Signal(syscall.SIGABRT); err != nil {
		return "", err
	}
	exit, err := p.Ended(ctx)
	if err != nil {
		return "", err
	}
	if exit == nil || !strings.Contains(exit.Error(), "core dumped") {
		return "", fmt.Errorf("%s, which was to write a core file, ended with %w", p.Name(), exit)
	}
	names, err := filepath.Glob(filepath.Join(folder, "core*"))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("%s wrote core files: %q, %w", p.Name(), names, err)
	}
	return names[0], nil
}
