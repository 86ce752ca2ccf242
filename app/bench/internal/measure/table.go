package measure

import (
	"fmt"
	"strconv"
)

// table returns the rows without their samples: first those that have a target,
// then what explains them.
func table(size Size) []*Row {
	var rows []*Row
	add := func(more bool, target float64, id, unit, against, format string, args ...any) {
		rows = append(rows, &Row{
			ID: id, Name: fmt.Sprintf(format, args...), Unit: unit, Against: against, Target: target, MoreIsBetter: more,
		})
	}
	const (
		rate, micro, milli, mega, ceiling = "requests/s", "µs", "ms", "MB", "ceiling"
		least, most                       = true, false
	)
	for _, n := range inFlight {
		add(least, 0.90, fmt.Sprint("reads-", n), rate, ceiling, "reads, %s", connections(n))
	}
	for _, n := range inFlight {
		add(least, 0.90, fmt.Sprint("standard-", n), rate, ceiling, "reads, %s of net/http's client", connections(n))
	}
	for _, n := range inFlight {
		add(least, 0.95, fmt.Sprint("policies-", n), rate, "1 policy, 1 identity",
			"reads with %s policies and identities, %s at a time", thousands(size.Workloads), connections(n))
	}
	large := thousands(size.Large)
	add(least, 0.45, "writes-64", rate, ceiling, "flushed writes, 64 connections")
	add(most, 1, "writer-1", micro, "ceiling + 2 flushes", "one writer, p50")
	add(most, 1.5, "mixed-p99", micro, ceiling, "90 %% reads, 10 %% writes, 16 connections: p99 of the reads")
	add(least, 0.90, "handshakes", "connections/s", ceiling, "new connections, each with a full handshake and a read")
	add(most, 1000, "start-large", milli, "", "from start to the first read, %s secrets", large)
	add(most, 150, "start-small", milli, "", "from start to the first read, %s secrets", thousands(small))
	add(most, 160, "memory", mega, "", "resident memory of Nexus, %s secrets", large)
	add(most, 18, "memory-keeper", mega, "", "resident memory of a Keeper")
	add(most, 2, "list", micro, "a read", "list of 100 keys with a prefix, of %s, p50", large)

	for _, n := range inFlight {
		add(most, 0, fmt.Sprintf("reads-%d-p50", n), micro, ceiling, "reads, %s, p50", connections(n))
		add(most, 0, fmt.Sprintf("reads-%d-p99", n), micro, ceiling, "reads, %s, p99", connections(n))
	}
	add(most, 0, "writes-64-p50", micro, ceiling, "flushed writes, 64 connections, p50")
	add(most, 0, "writes-64-p99", micro, ceiling, "flushed writes, 64 connections, p99")
	add(least, 0, "mixed", rate, ceiling, "90 %% reads, 10 %% writes, 16 connections")
	add(most, 0, "flush", micro, "", "one flush after 4 KB were appended, p50")
	return rows
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// thousands writes a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
