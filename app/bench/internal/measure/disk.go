package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// flushed is how much is appended before each flush, as much as a small commit.
const flushed = 4 << 10

// Flush appends 4 KB to a new file in folder and flushes it, n times, and returns
// how long each took, sorted: what a durable write costs on this disk, whoever
// writes it.
func Flush(folder string, n int) (times []time.Duration, err error) {
	name := filepath.Join(folder, "flush")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(name)) }()
	content := make([]byte, flushed)
	for range n {
		if _, err := file.Write(content); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return nil, fmt.Errorf("flush %s: %w", name, err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times, nil
}
