package main

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// control is what a program says to a terminal beside text: a sequence with numbers,
// a title, a set of characters.
var control = regexp.MustCompile("^(?:\x1b\\[([?>=]*)([0-9;:]*)([@-~])|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[()].|\x1b[=>78MPk\\\\])")

// picture returns the rows that a terminal would show, without blanks at their ends,
// and everything that has left it at the top. It knows what shells use to edit a line.
func picture(written string) []string {
	rows, row, col := [][]rune{nil}, 0, 0
	at := func(r, c int) {
		row, col = max(r, 0), max(c, 0)
		for len(rows) <= row {
			rows = append(rows, nil)
		}
	}
	for written != "" {
		if m := control.FindStringSubmatch(written); m != nil {
			written = written[len(m[0]):]
			if m[1] != "" {
				continue
			}
			n, err := strconv.Atoi(m[2])
			if err != nil {
				n = 0
			}
			line := rows[row]
			switch m[3] {
			case "A":
				at(row-max(n, 1), col)
			case "B":
				at(row+max(n, 1), col)
			case "C":
				at(row, col+max(n, 1))
			case "D":
				at(row, col-max(n, 1))
			case "G":
				at(row, max(n, 1)-1)
			case "K":
				rows[row] = line[:min(col, len(line))]
			case "J":
				rows[row], rows = line[:min(col, len(line))], rows[:row+1]
			case "P":
				rows[row] = append(line[:min(col, len(line)):len(line)], line[min(col+max(n, 1), len(line)):]...)
			case "@":
				if col < len(line) {
					rows[row] = append(line[:col:col], append([]rune(strings.Repeat(" ", max(n, 1))), line[col:]...)...)
				}
			}
			continue
		}
		c, size := utf8.DecodeRuneInString(written)
		written = written[size:]
		switch {
		case c == '\r':
			at(row, 0)
		case c == '\n':
			at(row+1, col)
		case c == '\b':
			at(row, col-1)
		case c >= ' ':
			for len(rows[row]) <= col {
				rows[row] = append(rows[row], ' ')
			}
			rows[row][col] = c
			at(row, col+1)
		}
	}
	lines := make([]string, len(rows))
	for i := range rows {
		lines[i] = strings.TrimRight(string(rows[i]), " ")
	}
	return lines
}
