package trace_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/process"
	"github.com/spiffe/spike/internal/secret"
	"github.com/spiffe/spike/internal/shard"
	"github.com/spiffe/spike/internal/trace"
)

// What this executable does in place of tests, when it is told to.
const (
	forcing = "forcing" // FOLDER COMMAND…: trace.ExecForcing
	holding = "holding" // read two secrets, keep one as keys are kept, and wait
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case forcing:
			fmt.Fprintln(os.Stderr, trace.ExecForcing(os.Args[2], os.Args[3:], os.Environ()))
			os.Exit(2)
		case holding:
			fmt.Fprintln(os.Stderr, hold())
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

func hold() error {
	// As servers do. It is to make no difference.
	if err := process.ForbidCore(); err != nil {
		return err
	}
	var ordinary [32]byte
	input := make([]byte, 64)
	if _, err := io.ReadFull(os.Stdin, input); err != nil {
		return err
	}
	copy(ordinary[:], input[32:])
	key, err := secret.NewKey(input[:32])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = os.Stdin.Read(make([]byte, 1)) // for ever
	runtime.KeepAlive(&ordinary)
	key.Destroy()
	return err
}

// TestCoreFile has a process that forbids itself core files write one, and finds in
// it what is in ordinary memory and not what is kept as keys are.
func TestCoreFile(t *testing.T) {
	input := make([]byte, 64)
	_, _ = rand.Read(input) // it never fails
	var both trace.Set
	both.Add("the key", input[:32])
	both.Add("the text", input[32:])
	key, text := trace.Found{Name: "the key", How: trace.AsItIs}, trace.Found{Name: "the text", How: trace.AsItIs}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	noCore := trace.CoreFiles()
	if noCore != nil && !errors.Is(noCore, trace.ErrNoCoreFile) {
		t.Fatal(noCore)
	}
	folder := t.TempDir()
	command := []string{self, holding}
	if noCore == nil {
		command = append([]string{self, forcing, folder}, command...)
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "GOTRACEBACK=crash")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(input); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}

	m, err := both.InProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if m.Locked[key] != 1 || len(m.Locked) != 1 || len(m.Pages) != 1 || m.Others[text] == 0 || m.Others[key] != 0 {
		t.Errorf("in the process: %+v", m)
	}
	if err := cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	exit := cmd.Wait()
	if noCore != nil {
		t.Logf("the process was looked into, and no core file: %v", noCore)
		return
	}
	if exit == nil || !strings.Contains(exit.Error(), "core dumped") {
		t.Fatalf("it ended with %v\n%s", exit, stderr.String())
	}
	names, err := filepath.Glob(filepath.Join(folder, "core*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("core files: %q, %v", names, err)
	}
	found, err := both.InCore(names[0], m.Pages)
	if err != nil || found[text] == 0 || found[key] != 0 {
		t.Errorf("in the core file: %v, %v", found, err)
	}
	// A page that is there is noticed: this one is, as all of the heap.
	if _, err := both.InCore(names[0], pagesOf(t, names[0], input[32:])); err == nil {
		t.Error("a page that is in the core file was not noticed")
	}
	if _, err := both.InCore(self, nil); err == nil {
		t.Error("a program was taken for a core file")
	}
}

// pagesOf returns the address of the page on which a core file has content.
func pagesOf(t *testing.T, name string, content []byte) []uint64 {
	t.Helper()
	file, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, p := range file.Progs {
		b, err := io.ReadAll(p.Open())
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, content); p.Type == elf.PT_LOAD && at >= 0 {
			return []uint64{(p.Vaddr + uint64(at)) &^ uint64(os.Getpagesize()-1)}
		}
	}
	t.Fatal("it is on no page")
	return nil
}

// TestKeys: with a threshold of one, a share is the secret that was split.
func TestKeys(t *testing.T) {
	var share shard.Value
	for i := range share {
		share[i] = byte(i)
	}
	var s trace.Set
	id := strings.Repeat("0a", 16)
	if err := s.AddKeys(map[int]shard.Value{1: share}, 1, id, id); err != nil {
		t.Fatal(err)
	}
	if found := s.In(share[:]); found[trace.Found{Name: trace.Split, How: trace.AsItIs}] != 1 {
		t.Errorf("found %v", found)
	}
	if err := s.AddKeys(map[int]shard.Value{1: share}, 1, "x", id); err == nil {
		t.Error("a cluster's id was taken that is none")
	}
	if err := s.AddKeys(nil, 1, id, id); err == nil {
		t.Error("no shares make a key")
	}
}
