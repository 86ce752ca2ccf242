package clustertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/client"
)

// hold is what the executable does in place of tests when it is told to hold a
// cluster.
func hold(programs string) int {
	c, err := New(Options{Programs: programs})
	if err == nil {
		err = c.Up(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.Dir())
	for _, p := range c.all() {
		fmt.Println(p.PID())
	}
	fmt.Println("up")
	select {}
}

// TestClusterEndsWithItsStarter kills the one who started a cluster: nobody is
// left to clean up, and nothing may go on.
func TestClusterEndsWithItsStarter(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), holder+"="+programs)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	var lines []string
	for scanner := bufio.NewScanner(output); scanner.Scan() && scanner.Text() != "up"; {
		lines = append(lines, scanner.Text())
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	if len(lines) != 1+5 {
		t.Fatalf("the cluster's starter printed %q", lines)
	}
	defer func() { must(t, os.RemoveAll(lines[0])) }()
	c := &Cluster{nexus: &Process{}}
	for _, pid := range lines[1:] {
		if err := c.poll(t.Context(), "the end of process "+pid, func(context.Context) error {
			exe, err := os.Readlink("/proc/" + pid + "/exe")
			if err == nil && strings.HasPrefix(exe, programs) {
				return errors.New("it still runs")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// lost is for crash tests: it reports whether a secret that was acknowledged is
// not there.
func lost(ctx context.Context, n *client.Client, path, want string) (bool, error) {
	values, err := n.SecretGet(ctx, path, 0)
	if errors.Is(err, api.ErrNotFound) {
		return true, nil
	}
	return err == nil && values["k"] != want, err
}

// TestCrashTestsNotice shows that the crash tests are worth something: a Nexus
// that answers before it commits is found out. A large value takes it a while to
// commit; should it be quick for once, the next may not be.
func TestCrashTestsNotice(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	value := strings.Repeat("v", 4<<20)
	for try := range 20 {
		must(t, c.Nexus().Kill(), c.Nexus().Start("SPIKE_FAULT=answer-before-commit"))
		if _, err := c.WaitOpen(t.Context()); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("s/%d", try)
		_, err := c.superuser(t).SecretPut(t.Context(), api.SecretPutRequest{Path: path, Values: api.Values{"k": value}})
		must(t, err, c.Nexus().Kill(), c.Nexus().Start())
		if _, err := c.WaitOpen(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone, err := lost(t.Context(), c.superuser(t), path, value)
		must(t, err)
		if gone {
			return
		}
	}
	t.Error("a Nexus that answers before it commits lost nothing")
}
