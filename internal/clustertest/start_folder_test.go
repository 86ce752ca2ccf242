package clustertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestRemovedFolder has a cluster whose folder was removed while it ran.
func TestRemovedFolder(t *testing.T) {
	t.Parallel()
	l := clone(t, self(t)).newLocal(t, "")
	l.first(t, 0)
	pids := l.processes(t)
	must(t, os.RemoveAll(l.dir))

	said := l.first(t, 1).Stderr
	wantText(t, said, "files were removed", "--stop")
	for _, pid := range pids {
		wantText(t, said, "(pid "+pid+")")
	}
	strangers := l.strangers(t)
	must(t, os.RemoveAll(l.dir))

	stopped := l.start(t, 0, "--stop").Stdout
	for _, pid := range pids {
		wantText(t, stopped, "(pid "+pid+")")
	}
	if left := l.processes(t); !slices.Equal(left, strangers) {
		t.Errorf("%v were left of %v, and %v are not this cluster's", left, pids, strangers)
	}
	wantText(t, l.start(t, 0, "--stop").Stdout, "Nothing of the cluster")
	if _, err := os.Stat(l.dir); !os.IsNotExist(err) {
		t.Errorf("the stop made the folder again: %v", err)
	}
	wantText(t, l.first(t, 0).Stdout, "Making a new cluster")
}

// strangers are processes that look like this cluster's and are not: they must never
// be ended. Their file has the name of a Keeper's, and is removed.
func (l *local) strangers(t *testing.T) (pids []string) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	keeper := filepath.Join(l.dir, "bin", "keeper")
	copyFile(t, sleep, keeper)
	// Another user must reach it.
	must(t, os.Chmod(keeper, 0o755), os.Chmod(filepath.Dir(l.checkout.dir), 0o755))
	here := "SPIKE_LOCAL_CLUSTER=" + l.dir
	kinds := map[string]struct {
		env  string
		attr syscall.SysProcAttr
	}{
		"of another folder": {here + "x", syscall.SysProcAttr{}},
		"of no folder":      {"X" + here, syscall.SysProcAttr{}},
	}
	if os.Getuid() == 0 {
		kinds["another user's"] = struct {
			env  string
			attr syscall.SysProcAttr
		}{here, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}}
		// As of a container, whose folders may have the same names.
		kinds["of other mounts"] = struct {
			env  string
			attr syscall.SysProcAttr
		}{here, syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}}
	}
	for name, kind := range kinds {
		cmd := exec.CommandContext(t.Context(), keeper, "3600")
		cmd.Env, cmd.SysProcAttr = []string{kind.env}, &kind.attr
		if err := cmd.Start(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() {
			// It may have been ended, which the test has said then.
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		pids = append(pids, strconv.Itoa(cmd.Process.Pid))
	}
	slices.Sort(pids)
	return pids
}

// TestFolderOfOthers has folders in which others than the caller could decide what runs
// as the caller, or where the caller writes.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	c := clone(t, self(t))
	for _, mode := range []os.FileMode{0o775, 0o757, 0o777 | os.ModeSticky} {
		t.Run(mode.String(), func(t *testing.T) {
			l := c.newLocal(t, "-mode")
			must(t, os.MkdirAll(l.dir, 0o755), os.Chmod(l.dir, mode))
			cure := "chmod go-w " + l.dir
			if mode&os.ModeSticky != 0 {
				cure = "SPIKE_LOCAL_DIR=" // It is everybody's on purpose.
			}
			for _, args := range [][]string{nil, {"--stop"}} {
				wantText(t, l.start(t, 1, args...).Stderr, l.dir, "others than", cure)
			}
			must(t, os.Remove(l.dir)) // which it could not were anything in it
		})
	}
	t.Run("a folder in it", func(t *testing.T) {
		l := c.newLocal(t, "-within")
		must(t, os.MkdirAll(filepath.Join(l.dir, "bin"), 0o755), os.Chmod(filepath.Join(l.dir, "bin"), 0o775))
		wantText(t, l.start(t, 1).Stderr, "chmod go-w "+filepath.Join(l.dir, "bin"))
		must(t, os.RemoveAll(l.dir))
	})
	t.Run("a file", func(t *testing.T) {
		l := c.newLocal(t, "-file")
		must(t, os.WriteFile(l.dir, nil, 0o644))
		wantText(t, l.start(t, 1).Stderr, l.dir)
		must(t, os.Remove(l.dir))
	})
	if os.Getuid() != 0 {
		return // Only root can make folders of others.
	}

	t.Run("another user's", func(t *testing.T) {
		l := c.newLocal(t, "-foreign")
		must(t, os.Mkdir(l.dir, 0o755), os.Chown(l.dir, nobody, nobody))
		for _, args := range [][]string{nil, {"--stop"}} {
			wantText(t, l.start(t, 1, args...).Stderr, l.dir+" belongs to nobody", "this is root", "SPIKE_LOCAL_DIR=")
		}
		must(t, os.Remove(l.dir))
	})
	// Who cloned the checkout may be another one than who starts it.
	t.Run("root in a user's checkout", func(t *testing.T) {
		u := users(t)[1]
		theirs := clone(t, u)
		ours := *theirs
		ours.user = self(t)
		l := ours.newLocal(t, "")
		mine := filepath.Join(ours.dir, "mine.yaml")
		must(t, os.WriteFile(mine, []byte("entries: []\n"), 0o644))
		l.first(t, 0)
		wantText(t, l.start(t, 1, "--entries", mine).Stderr, "its folder "+ours.dir, "a folder of your own")
		user := &local{checkout: theirs, dir: l.dir, port: l.port}
		for _, args := range [][]string{nil, {"--stop"}} {
			wantText(t, user.start(t, 1, args...).Stderr, l.dir+" belongs to root", "chown -R nobody")
		}
		own := &local{checkout: theirs, dir: l.dir + "-own", port: l.port}
		wantText(t, own.start(t, 1).Stderr, "which belongs to root", "chown -R")
		// As it is told to.
		l.start(t, 0, "--stop")
		must(t, errors.Join(chown(l.dir, u.uid), chown(filepath.Join(ours.dir, "bin"), u.uid)))
		wantText(t, user.start(t, 0).Stdout, "Read the secret demo/hello, which was there")
	})
}

func chown(dir string, uid int) error {
	return filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, uid, -1))
	})
}

// TestStartCutOff interrupts the start that makes a cluster when nobody but its
// processes knows the root key yet, and has the next one go on from there.
func TestStartCutOff(t *testing.T) {
	t.Parallel()
	l := clone(t, self(t)).newLocal(t, "")
	code, said := l.cutOff(t)
	for code == 0 {
		// It was done before the signal came.
		l.start(t, 0, "--stop")
		must(t, os.RemoveAll(l.dir))
		code, said = l.cutOff(t)
	}
	if code != 130 {
		t.Fatalf("the start ended with %d\n%s", code, said)
	}
	wantText(t, said, "still runs", "goes on from there")
	before := l.processes(t)
	if len(before) != len(members) {
		t.Fatalf("%d processes run", len(before))
	}

	l.start(t, 0)
	if after := l.processes(t); !slices.Equal(before, after) {
		t.Errorf("%v ran, and now %v", before, after)
	}
	l.private(t) // the recovery shards, too
	l.start(t, 0, "--stop")
	wantText(t, l.start(t, 0).Stdout, "Feeding in the recovery shards", "Read the secret demo/hello, which was there")

	// Whoever does not read to the end wanted a cluster all the same.
	l.kill(t, "nexus")
	r := l.run(t.Context(), t, []string{"SPIKE_LOCAL_DIR=" + l.dir}, "/bin/bash", "-o", "pipefail", "-c", "scripts/start | true")
	if n := len(l.processes(t)); r.Code != 0 || n != len(members) {
		t.Errorf("exit code %d, and %d processes run:\n%s", r.Code, n, r.Stderr)
	}
}

// cutOff runs a start that makes a cluster, interrupts it while it does, and returns
// its exit code and what it said on standard error.
func (l *local) cutOff(t *testing.T) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(l.checkout.dir, "scripts/start"), "--port", fmt.Sprint(l.port))
	cmd.Env = slices.Concat([]string{"HOME=" + l.user.home, "PATH=" + l.path, "SPIKE_LOCAL_DIR=" + l.dir, "GOFLAGS=-buildvcs=false"}, l.user.env)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "Making a new cluster") {
			// To the script alone: what it has just begun runs to its end first.
			must(t, cmd.Process.Signal(syscall.SIGINT))
			break
		}
	}
	_, err = io.Copy(io.Discard, stdout)
	must(t, err)
	_ = cmd.Wait() // The exit code is looked at instead.
	return cmd.ProcessState.ExitCode(), stderr.String()
}
