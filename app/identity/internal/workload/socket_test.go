package workload

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestSocketMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	s.Close()
	if err := s.Release(); err != nil {
		t.Error(err)
	}
}

func TestLiveSocketIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	refused := func() {
		t.Helper()
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another identity provider is listening on "+path) {
			t.Errorf("error is %v", err)
		}
	}
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	refused()
	first.Close()
	// Stopping, but not done.
	refused()
	if err := first.Release(); err != nil {
		t.Error(err)
	}

	// Another kind of server that knows nothing of the lock.
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused()
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the live one was disturbed: %v", err)
	} else {
		conn.Close()
	}
	if _, err := os.Stat(path + ".lock"); err == nil {
		t.Error("the lock file stays behind")
	}
}

// leave makes what a killed provider leaves behind.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStaleSocketIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leave(t, path)
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	s.Close()
	if err := s.Release(); err != nil {
		t.Error(err)
	}
}

// Of many that start at once over a stale socket, one serves.
func TestRaceForTheSocket(t *testing.T) {
	dir := t.TempDir()
	for range 50 {
		path := filepath.Join(dir, "s")
		leave(t, path)
		var won atomic.Int32
		var socket *Socket
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if s, err := Listen(path); err == nil {
					won.Add(1)
					socket = s
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d serve", won.Load())
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		socket.Close()
		if err := socket.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

// What someone else put there meanwhile is not ours to remove.
func TestReleaseLeavesAnothersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	// Both exist for a moment, so that they cannot share an inode.
	l, err := net.Listen("unix", path+"2")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestUnusableSockets(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(open, "s"):        "every user may write the socket's folder",
		filepath.Join(dir, "none", "s"): "does not exist; make it",
		filepath.Join(file, "s"):        "is not a folder",
		file:                            "is not a socket",
		fifo:                            "is not a socket",
		filepath.Join(dir, strings.Repeat("x", 108)): "choose a shorter folder",
	} {
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", path, err)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file now holds %q, %v", content, err)
	}
}
