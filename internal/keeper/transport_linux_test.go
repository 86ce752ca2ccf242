package keeper

import (
	"errors"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spiffe/spike/internal/identitytest"
)

// TestSilentPartition: on a connection that says nothing the kernel asks often
// enough for a Keeper that is another by now to be found, and refilled, within
// 10 s of a partition's end: a probe, a second for things to settle, and a look
// are less than that. The connection to one that stays away is given up as soon.
func TestSilentPartition(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	source := identitytest.NewDomain(t, "spike.ist").Source("/spike/nexus")
	transport, ok := NewHTTPClient(source, source, func(spiffeid.ID) bool { return true }).Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	c, err := transport.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("got a %T", c)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var idle, interval, count int
	var errs [3]error
	if err := raw.Control(func(fd uintptr) {
		idle, errs[0] = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		interval, errs[1] = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
		count, errs[2] = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
	}); errors.Join(append(errs[:], err)...) != nil {
		t.Fatal(err, errs)
	}
	if max(idle, interval) > 5 || idle+count*interval > 10 || count < 2 {
		t.Errorf("asks after %d s, then every %d s, %d times", idle, interval, count)
	}
}
