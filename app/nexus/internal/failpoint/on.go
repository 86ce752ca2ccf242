//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var hits atomic.Int64

// Hit ends the process, as SIGKILL does, when SPIKE_FAILPOINT is name, or
// name:N and this is the N-th time.
func Hit(name string) {
	want, count, found := strings.Cut(os.Getenv("SPIKE_FAILPOINT"), ":")
	if want != name {
		return
	}
	n := int64(1)
	if found {
		parsed, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			panic(err)
		}
		n = parsed
	}
	if hits.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// Fault reports whether to make the mistake called name: when SPIKE_FAULT is it.
func Fault(name string) bool { return os.Getenv("SPIKE_FAULT") == name }
