package trace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// region is one mapping of a process; proc_pid_smaps(5).
type region struct {
	from, to uint64
	name     string
	resident uint64 // kB
	flags    []string
}

// kept reports whether a key may be there: the page never goes to swap, nor into a
// core file.
func (r *region) kept() bool {
	return slices.Contains(r.flags, "lo") && slices.Contains(r.flags, "dd")
}

// readError is about a process that cannot be looked into.
func readError(pid int, err error) error { return fmt.Errorf("memory of process %d: %w", pid, err) }

func regions(pid int) ([]region, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, readError(pid, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	var list []region
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var r region
		var mode string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &r.from, &r.to, &mode); n == 3 {
			if fields := strings.Fields(lines.Text()); len(fields) > 5 {
				r.name = fields[5]
			}
			list = append(list, r)
		} else if rss, ok := strings.CutPrefix(lines.Text(), "Rss:"); ok {
			if _, err := fmt.Sscan(rss, &list[len(list)-1].resident); err != nil {
				return nil, readError(pid, err)
			}
		} else if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok {
			list[len(list)-1].flags = strings.Fields(flags)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, readError(pid, err)
	}
	return list, nil
}

// Memory is what was found in a process.
type Memory struct {
	// Locked is what is on pages that are locked and left out of core files, and
	// Pages has the addresses of those on which something was found.
	Locked map[Found]int
	Pages  []uint64
	// Others is what is on all other pages, which are what a core file has.
	Others map[Found]int
}

// InProcess looks into the memory of a process that runs.
func (s *Set) InProcess(pid int) (m Memory, err error) {
	list, err := regions(pid)
	if err != nil {
		return m, err
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return m, readError(pid, err)
	}
	defer func() { _ = memory.Close() }() // it was only read
	m = Memory{Locked: map[Found]int{}, Others: map[Found]int{}}
	read := 0
	for _, r := range list {
		if strings.HasPrefix(r.name, "[v") || r.resident == 0 {
			continue // the kernel's own, or only reserved
		}
		content := make([]byte, r.to-r.from)
		if _, err := memory.ReadAt(content, int64(r.from)); err != nil {
			continue // it went away meanwhile
		}
		read++
		m.note(&r, s, content)
		clear(content)
	}
	if read == 0 {
		return m, readError(pid, errors.New("nothing of it could be read"))
	}
	return m, nil
}

func (m *Memory) note(r *region, s *Set, content []byte) {
	if !r.kept() {
		for found, n := range s.In(withoutZeros(content)) {
			m.Others[found] += n
		}
		return
	}
	// Neighbouring pages are one region to the kernel.
	size := os.Getpagesize()
	for at := 0; at < len(content); at += size {
		all := s.In(content[at:min(at+size, len(content))])
		for found, n := range all {
			m.Locked[found] += n
		}
		if len(all) > 0 {
			m.Pages = append(m.Pages, r.from+uint64(at))
		}
	}
}
