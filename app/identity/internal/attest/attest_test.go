package attest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/spiffe/spike/app/identity/internal/entry"
)

// childMode makes a copy of the test binary a real caller.
const childMode = "ATTEST_TEST_CHILD"

func TestMain(m *testing.M) {
	switch mode := os.Getenv(childMode); mode {
	case "":
		goleak.VerifyTestMain(m)
	case "hold":
		// Holds a connection that another process opened.
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
	default:
		if err := child(mode, os.Args[1], os.Args[2:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// child connects to the socket and keeps the connection until its standard input
// ends, in the way that mode says.
func child(mode, socket string, args []string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	switch mode {
	case "connect":
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return conn.Close()
	case "leave":
		// Ends at once, while a child of its own keeps the connection open.
		f, err := conn.(*net.UnixConn).File()
		if err != nil {
			return err
		}
		cmd := exec.Command(args[0])
		cmd.Env = []string{childMode + "=hold"}
		cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = os.Stdin, os.Stdout, []*os.File{f}
		return cmd.Start()
	case "become":
		// Runs another program, which inherits the connection.
		f, err := conn.(*net.UnixConn).File()
		if err != nil {
			return err
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			return err
		}
		return syscall.Exec(args[0], args[:1], []string{childMode + "=hold"})
	}
	return fmt.Errorf("unknown mode %q", mode)
}

// folder is one that other users may enter, unlike t.TempDir.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "attest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program puts a new executable at name.
func program(t *testing.T, name string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	// A name of its own first: a file that runs cannot be written.
	if err := os.WriteFile(name+".new", content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func credentialsForTest(t *testing.T) *Credentials {
	t.Helper()
	creds, err := NewCredentials(NewQuota("connections", 100, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// client is a real process that is connected.
type client struct {
	peer *Peer
	pid  int

	// end closes its input and waits for it.
	end func()
}

// start runs the program exe in the given mode and returns how it looks from the
// other end of the socket.
func start(t *testing.T, creds *Credentials, mode, exe string, as *syscall.Credential, args ...string) client {
	t.Helper()
	socket := filepath.Join(folder(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(exe, append([]string{socket}, args...)...)
	cmd.Env = []string{childMode + "=" + mode}
	cmd.Stderr = os.Stderr
	if as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn, info, err := creds.ServerHandshake(conn)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		in.Close()
		// Until every process that could write has ended.
		_, _ = io.Copy(io.Discard, lines)
		if err := cmd.Wait(); err != nil {
			t.Errorf("child: %v", err)
		}
		out.Close()
	}
	t.Cleanup(func() {
		end()
		conn.Close()
	})
	return client{peer: info.(*Peer), pid: cmd.Process.Pid, end: end}
}

func own(path string) entry.Entry {
	return entry.Entry{Path: path, UID: uint32(os.Geteuid())}
}

func TestCallerIsSeen(t *testing.T) {
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	c := start(t, credentialsForTest(t), "connect", exe, nil)
	seen := c.peer.Look()
	if seen.UID != uint32(os.Geteuid()) || seen.GID != uint32(os.Getegid()) || int(seen.PID) != c.pid {
		t.Errorf("seen uid %d, gid %d, pid %d", seen.UID, seen.GID, seen.PID)
	}
	if seen.ExeErr != nil || seen.ExeName != exe {
		t.Errorf("seen executable %q, %v; it is %q", seen.ExeName, seen.ExeErr, exe)
	}
}

func TestMatches(t *testing.T) {
	dir := folder(t)
	exe, other := filepath.Join(dir, "program"), filepath.Join(dir, "other")
	program(t, exe)
	program(t, other)
	if err := os.Symlink(exe, filepath.Join(dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(exe, filepath.Join(dir, "hardlink")); err != nil {
		t.Fatal(err)
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	wrongGID := gid + 1
	seen := start(t, credentialsForTest(t), "connect", exe, nil).peer.Look()

	for _, tc := range []struct {
		name  string
		entry entry.Entry
		want  bool
	}{
		{"uid", entry.Entry{UID: uid}, true},
		{"uid and gid", entry.Entry{UID: uid, GID: &gid}, true},
		{"all three", entry.Entry{UID: uid, GID: &gid, Path: exe}, true},
		{"wrong uid", entry.Entry{UID: uid + 1}, false},
		{"wrong uid, right rest", entry.Entry{UID: uid + 1, GID: &gid, Path: exe}, false},
		{"wrong gid", entry.Entry{UID: uid, GID: &wrongGID}, false},
		{"wrong gid, right rest", entry.Entry{UID: uid, GID: &wrongGID, Path: exe}, false},
		{"a file with the same content", own(other), false},
		{"a symbolic link to the file", own(filepath.Join(dir, "symlink")), true},
		{"another name of the same file", own(filepath.Join(dir, "hardlink")), true},
		{"no such file", own(filepath.Join(dir, "nothing")), false},
		{"a folder", own(dir), false},
	} {
		if got := seen.Matches(tc.entry); got != tc.want {
			t.Errorf("%s: matches is %v", tc.name, got)
		}
	}
}

// Another file can be mounted over a name, and a container has names of its own:
// that the kernel shows the entry's very text says nothing.
func TestNamesDoNotCount(t *testing.T) {
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	program(t, exe+"2")
	other, err := fileID(exe + "2")
	if err != nil {
		t.Fatal(err)
	}
	seen := Caller{UID: uint32(os.Geteuid()), ExeName: exe, exe: other}
	if seen.Matches(own(exe)) {
		t.Error("matches by name")
	}
	if !seen.Matches(own(exe + "2")) {
		t.Error("does not match by file")
	}
}

func TestReplacedFileIsNotRecognised(t *testing.T) {
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	creds := credentialsForTest(t)
	old := start(t, creds, "connect", exe, nil)
	if !old.peer.Look().Matches(own(exe)) {
		t.Fatal("does not match before the file is replaced")
	}
	program(t, exe)
	if seen := old.peer.Look(); seen.Matches(own(exe)) {
		t.Errorf("a process of the old file matches the new one; seen %q", seen.ExeName)
	} else if !strings.HasSuffix(seen.ExeName, " (deleted)") {
		t.Errorf("seen as %q", seen.ExeName)
	}
	if !start(t, creds, "connect", exe, nil).peer.Look().Matches(own(exe)) {
		t.Error("a process of the new file does not match")
	}
}

func TestRenamedFile(t *testing.T) {
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	c := start(t, credentialsForTest(t), "connect", exe, nil)
	if err := os.Rename(exe, exe+".old"); err != nil {
		t.Fatal(err)
	}
	if c.peer.Look().Matches(own(exe)) {
		t.Error("matches by a name that is gone")
	}
	// Put an innocent file where the entry points: same text, another file.
	if err := os.WriteFile(exe, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if c.peer.Look().Matches(own(exe)) {
		t.Error("matches a file that it does not run")
	}
	if !c.peer.Look().Matches(own(exe + ".old")) {
		t.Error("does not match by the file's new name")
	}
}

// A process may run another program on the same connection; what counts is what
// runs now.
func TestExecIsSeen(t *testing.T) {
	dir := folder(t)
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	program(t, first)
	program(t, second)
	seen := start(t, credentialsForTest(t), "become", first, nil, second).peer.Look()
	if seen.Matches(own(first)) || !seen.Matches(own(second)) {
		t.Errorf("seen as %q, %v", seen.ExeName, seen.ExeErr)
	}
}

// A connection may outlive the process that opened it; whoever holds it then is
// not known, and the pid may be given to someone else.
func TestEndedProcessHasNoExecutable(t *testing.T) {
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	creds := credentialsForTest(t)
	c := start(t, creds, "leave", exe, nil, exe)
	// The pid is certainly gone once its parent, this test, has waited for it,
	// which happens in end; a zombie must not match either.
	for range 1000 {
		if errors.Is(c.peer.Look().ExeErr, errEnded) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	check := func(when string) {
		seen := c.peer.Look()
		if !errors.Is(seen.ExeErr, errEnded) {
			t.Errorf("%s: seen %q, %v", when, seen.ExeName, seen.ExeErr)
		}
		if seen.Matches(own(exe)) {
			t.Errorf("%s: matches by path", when)
		}
		if !seen.Matches(own("")) {
			t.Errorf("%s: does not match by uid", when)
		}
	}
	check("zombie")
	c.end()
	check("gone")
}

func TestPinByPID(t *testing.T) {
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	c := start(t, credentialsForTest(t), "connect", exe, nil)
	started, err := startTime(int32(c.pid))
	if err != nil {
		t.Fatal(err)
	}
	now, err := sinceBoot()
	if err != nil {
		t.Fatal(err)
	}
	if started > now || now-started > time.Hour {
		t.Errorf("started at %s, now is %s", started, now)
	}

	p, err := pinByPID(int32(c.pid), now)
	if err != nil {
		t.Fatal(err)
	}
	if id, name, err := p.executable(); err != nil || name != exe {
		t.Errorf("executable %v %q, %v", id, name, err)
	}
	// A process that began after the connection is not the one that opened it.
	if _, err := pinByPID(int32(c.pid), started-time.Second/ticksPerSecond); !errors.Is(err, errEnded) {
		t.Errorf("a younger process was taken: %v", err)
	}
	c.end()
	if _, _, err := p.executable(); !errors.Is(err, errEnded) {
		t.Errorf("after its end: %v", err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if _, _, err := p.executable(); err == nil {
		t.Error("a closed hold still answers")
	}
	if _, err := pinByPID(int32(c.pid), now); !errors.Is(err, errEnded) {
		t.Errorf("a pid that is free: %v", err)
	}
}

func TestAnotherNamespaceHidesTheExecutable(t *testing.T) {
	creds := credentialsForTest(t)
	uid, gid := uint32(1000), uint32(100)
	p := creds.newPeer(&unix.Ucred{Pid: 0, Uid: uid, Gid: gid})
	p.proc, p.pinErr = pin(-1, 0, 0)
	seen := p.Look()
	if !errors.Is(seen.ExeErr, errOtherNamespace) {
		t.Errorf("seen %q, %v", seen.ExeName, seen.ExeErr)
	}
	if !seen.Matches(entry.Entry{UID: uid, GID: &gid}) {
		t.Error("does not match by uid and gid")
	}
	if seen.Matches(entry.Entry{UID: uid, Path: "/proc/self/exe"}) {
		t.Error("matches by path")
	}
}

// In a user namespace that does not map everyone, the kernel shows all others as
// one and the same number.
func TestUnmappedUserMatchesNothing(t *testing.T) {
	stand := uint32(65534)
	creds := credentialsForTest(t)
	creds.overflowUID, creds.overflowGID = &stand, &stand
	for _, tc := range []struct {
		uid, gid uint32
		entry    entry.Entry
		want     bool
	}{
		{stand, 1, entry.Entry{UID: stand}, false},
		{1, stand, entry.Entry{UID: 1, GID: &stand}, false},
		{1, stand, entry.Entry{UID: 1}, true},
	} {
		seen := creds.newPeer(&unix.Ucred{Uid: tc.uid, Gid: tc.gid}).Look()
		seen.ExeErr = errOtherNamespace
		if got := seen.Matches(tc.entry); got != tc.want {
			t.Errorf("uid %d, gid %d: matches is %v", tc.uid, tc.gid, got)
		}
		if seen.UIDUnknown != (tc.uid == stand) || seen.GIDUnknown != (tc.gid == stand) {
			t.Errorf("uid %d, gid %d: unknown are %v, %v", tc.uid, tc.gid, seen.UIDUnknown, seen.GIDUnknown)
		}
	}
}

// Root sees a caller of another user; the entries' uid tells them apart. Without
// root there is one user only, and TestMatches has the wrong uid.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	exe := filepath.Join(folder(t), "program")
	program(t, exe)
	const uid, gid = 54321, 54322
	seen := start(t, credentialsForTest(t), "connect", exe, &syscall.Credential{Uid: uid, Gid: gid}).peer.Look()
	if seen.UID != uid || seen.GID != gid || seen.ExeErr != nil {
		t.Errorf("seen uid %d, gid %d, executable %q, %v", seen.UID, seen.GID, seen.ExeName, seen.ExeErr)
	}
	if seen.Matches(own(exe)) {
		t.Error("matches an entry for root")
	}
	wanted := uint32(gid)
	if !seen.Matches(entry.Entry{UID: uid, GID: &wanted, Path: exe}) {
		t.Error("does not match an entry for its own user")
	}
}

func TestConnectionQuota(t *testing.T) {
	creds, err := NewCredentials(NewQuota("connections", 1, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect := func() (net.Conn, error) {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		conn, _, err := creds.ServerHandshake(s)
		return conn, err
	}
	first, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(); err == nil {
		t.Error("a second connection was taken")
	}
	// Closing twice gives back one.
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	second, err := connect()
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	if _, err := connect(); err == nil {
		t.Error("a place was given back twice")
	}
	second.Close()
}

func TestQuotaIsPerUser(t *testing.T) {
	var log strings.Builder
	q := NewQuota("streams", 2, slog.New(slog.NewTextHandler(&log, nil)))
	for i, want := range []bool{true, true, false, false} {
		if got := q.Take(1); got != want {
			t.Errorf("take %d is %v", i, got)
		}
	}
	if !q.Take(2) {
		t.Error("another user is kept out")
	}
	q.Give(1)
	if !q.Take(1) {
		t.Error("what was given back is not there")
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines for two refusals:\n%s", n, &log)
	}
	q.Give(1)
	q.Give(1)
	q.Give(2)
	if len(q.held) != 0 {
		t.Errorf("kept %v", q.held)
	}
}

func TestOnlyUnixSockets(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, _, err := credentialsForTest(t).ServerHandshake(a); err == nil {
		t.Error("a pipe was attested")
	}
}
