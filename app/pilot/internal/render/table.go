package render

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Cell is a piece of a table.
type Cell struct {
	Text  string
	Color Color
}

// Row makes a row of plain cells.
func Row(texts ...string) []Cell {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i].Text = text
	}
	return row
}

// Field is a name and a value.
type Field struct {
	Name  string
	Value string
	Color Color
}

const (
	gap = 2 // spaces between columns
	// narrowest is what a column must have left to be broken into lines; with less,
	// they could not be read.
	narrowest = 16
)

// Fields writes names and values in two columns. A field without a value is
// left out, and a long value goes on below itself.
func Fields(w io.Writer, style Style, fields ...Field) error {
	var rows [][]Cell
	for _, f := range fields {
		if f.Value != "" {
			rows = append(rows, []Cell{{Text: f.Name + ":"}, {f.Value, f.Color}})
		}
	}
	var out strings.Builder
	columns(&out, style, rows)
	_, err := io.WriteString(w, out.String())
	return err
}

// Table writes rows under a head. Where it is wider than the place, its last
// column is broken into lines; where that is not enough, each row becomes a list
// of fields. Nothing is cut off.
func Table(w io.Writer, style Style, head []string, rows [][]Cell) error {
	var out strings.Builder
	all := append([][]Cell{Row(head...)}, rows...)
	if fits(style, all) {
		columns(&out, style, all)
		_, err := io.WriteString(w, out.String())
		return err
	}
	for i, row := range rows {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		fields := make([]Field, len(row))
		for j, cell := range row {
			fields[j] = Field{head[j], cell.Text, cell.Color}
		}
		if err := Fields(w, style, fields...); err != nil {
			return err
		}
	}
	return nil
}

// widths returns how wide each column would like to be.
func widths(rows [][]Cell) (wide []int) {
	for _, row := range rows {
		for j, cell := range row {
			if j == len(wide) {
				wide = append(wide, 0)
			}
			wide[j] = max(wide[j], utf8.RuneCountInString(cell.Text))
		}
	}
	return wide
}

// last returns how wide the last column can be.
func last(style Style, wide []int) int {
	if style.Width == 0 {
		return wide[len(wide)-1]
	}
	left := style.Width
	for _, n := range wide[:len(wide)-1] {
		left -= n + gap
	}
	return min(left, wide[len(wide)-1])
}

// fits reports whether rows can be written as columns.
func fits(style Style, rows [][]Cell) bool {
	wide := widths(rows)
	return last(style, wide) >= min(narrowest, wide[len(wide)-1])
}

// columns writes rows one below the other. Lines have no spaces at their ends.
func columns(out *strings.Builder, style Style, rows [][]Cell) {
	if len(rows) == 0 {
		return
	}
	wide := widths(rows)
	end := len(wide) - 1
	indent := 0
	for _, n := range wide[:end] {
		indent += n + gap
	}
	for _, row := range rows {
		blank := 0 // spaces that are due before the next text
		for j, cell := range row[:end] {
			if cell.Text != "" {
				out.WriteString(strings.Repeat(" ", blank) + style.Paint(cell.Color, cell.Text))
				blank = 0
			}
			blank += wide[j] + gap - utf8.RuneCountInString(cell.Text)
		}
		for _, line := range wrap(row[end].Text, max(last(style, wide), narrowest)) {
			out.WriteString(strings.Repeat(" ", blank) + style.Paint(row[end].Color, line) + "\n")
			blank = indent
		}
		if row[end].Text == "" {
			out.WriteByte('\n')
		}
	}
}

// wrap breaks text into lines between its words, or inside one that is too long.
func wrap(text string, width int) (lines []string) {
	line, used := "", 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > width {
			lines, line, used = append(lines, line), "", 0
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		for ; n > width; n = utf8.RuneCountInString(word) {
			cut := string([]rune(word)[:width])
			lines, word = append(lines, cut), word[len(cut):]
		}
		line, used = line+word, used+n
	}
	if used > 0 {
		lines = append(lines, line)
	}
	return lines
}
