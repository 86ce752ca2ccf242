package secret_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/spiffe/spike/internal/secret"
)

// leave has a secret on its stack, well below what its caller does next.
//
//go:noinline
func leave(material *[32]byte) {
	var deep [4 << 10]byte
	copy(deep[:], material[:])
	peek(&deep)
}

//go:noinline
func peek(deep *[4 << 10]byte) { runtime.KeepAlive(deep) }

// elsewhere counts a secret in this process, but for where it is kept.
func elsewhere(t *testing.T, material *[32]byte) (count int) {
	t.Helper()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = maps.Close() }()
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = memory.Close() }()
	content := make([]byte, 1<<20)
	first, kept := address(&content[0]), address(&material[0])
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x rw", &from, &to); n != 2 {
			continue
		}
		for ; from < to; from += uintptr(len(content)) {
			clear(content)
			// What cannot be read has nothing in it.
			n, _ := memory.ReadAt(content[:min(uintptr(len(content)), to-from)], int64(from))
			for at := 0; ; at++ {
				next := bytes.Index(content[at:n], material[:])
				if next < 0 {
					break
				}
				at += next
				if found := from + uintptr(at); found != kept && (found < first || found >= first+uintptr(len(content))) {
					count++
				}
			}
		}
	}
	clear(content)
	return count
}

func address(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) }

// TestScrubbed looks at the stack of a goroutine that has just used a secret.
func TestScrubbed(t *testing.T) {
	// The collector moves stacks.
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	material := new([32]byte)
	_, _ = rand.Read(material[:]) // it never fails
	for _, test := range []struct {
		name string
		use  func(func())
		left int
	}{
		{"scrubbed", secret.Scrubbed, 0},
		{"scrubbed, while the collector runs", func(use func()) {
			secret.Scrubbed(func() {
				use()
				runtime.GC()
			})
		}, 0},
		{"as it is", func(use func()) { use() }, 1}, // and stays there, so that this is last
	} {
		used, looked := make(chan struct{}), make(chan struct{})
		go func() {
			test.use(func() { leave(material) })
			close(used)
			<-looked
		}()
		<-used
		if n := elsewhere(t, material); n != test.left {
			t.Errorf("%s: the secret is in memory %d times more, and should be %d", test.name, n, test.left)
		}
		close(looked)
	}
}
