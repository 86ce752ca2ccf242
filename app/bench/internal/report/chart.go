package report

import (
	"bytes"
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The size of a chart.
const (
	width  = 16 * vg.Centimeter
	height = 9 * vg.Centimeter
)

// chart is one of the pictures.
type chart struct {
	file, title string
	draw        func(*Report, *plot.Plot) error
}

func charts() []chart {
	return []chart{
		{"throughput.svg", "Requests a second, Nexus and the ceiling", (*Report).drawThroughput},
		{"latency.svg", "How long requests take, Nexus and the ceiling", (*Report).drawLatency},
		{"ratio.svg", "Nexus over what it is compared with, in each round, and the targets", (*Report).drawRatios},
	}
}

// charts draws them, by file name.
func (r *Report) charts() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, c := range charts() {
		p := plot.New()
		style(p)
		p.Title.Text = c.title
		if err := c.draw(r, p); err != nil {
			return nil, fmt.Errorf("%s: %w", c.file, err)
		}
		writer, err := p.WriterTo(width, height, "svg")
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if _, err := writer.WriteTo(&out); err != nil {
			return nil, err
		}
		files[c.file] = out.Bytes()
	}
	return files, nil
}

// style has all text in one typeface, which every viewer has.
func style(p *plot.Plot) {
	for _, s := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		s.Font.Variant, s.Font.Size = "Sans", font.Length(9)
	}
	p.Title.TextStyle.Font.Size = font.Length(11)
	p.Title.Padding, p.X.Padding, p.Y.Padding = vg.Points(8), vg.Points(4), vg.Points(4)
	p.Legend.Top = true
	p.Y.Min = 0
}

// The colours are told apart by those who see fewer, and in print.
func ceilingColor() color.Color { return color.RGBA{R: 0xb0, G: 0xbe, B: 0xc5, A: 0xff} }
func nexusColor() color.Color   { return color.RGBA{R: 0x00, G: 0x6d, B: 0x9c, A: 0xff} }

// bars draws pairs of bars: what rows compare with, and what they measured.
func (r *Report) bars(p *plot.Plot, ids, names []string) error {
	var base, value plotter.Values
	var shown []string
	for i, id := range ids {
		if row, ok := r.row(id); ok {
			base, value = append(base, row.Summary.Base), append(value, row.Summary.Value)
			shown = append(shown, names[i])
		}
	}
	if len(shown) == 0 {
		return nil
	}
	const wide = 18
	for i, side := range []struct {
		name   string
		values plotter.Values
		color  color.Color
	}{{"ceiling", base, ceilingColor()}, {"Nexus", value, nexusColor()}} {
		b, err := plotter.NewBarChart(side.values, vg.Points(wide))
		if err != nil {
			return err
		}
		b.Color, b.LineStyle.Width = side.color, 0
		b.Offset = vg.Points(wide * (float64(i) - 0.5))
		p.Add(b)
		p.Legend.Add(side.name, b)
	}
	p.NominalX(shown...)
	// Room for the legend above the bars.
	p.Y.Max *= 1.2
	return nil
}

func (r *Report) drawThroughput(p *plot.Plot) error {
	p.Y.Label.Text = "requests a second"
	return r.bars(p, []string{"reads-1", "reads-16", "reads-64", "writes-64"},
		[]string{"reads, 1", "reads, 16", "reads, 64", "writes, 64 connections"})
}

func (r *Report) drawLatency(p *plot.Plot) error {
	p.Y.Label.Text = "µs"
	return r.bars(p, []string{"reads-1-p50", "reads-1-p99", "reads-16-p50", "reads-16-p99", "mixed-p99"},
		[]string{"1, p50", "1, p99", "16, p50", "16, p99", "mixed 16, p99"})
}

// drawRatios shows every round, so that one sees how far they are apart.
func (r *Report) drawRatios(p *plot.Plot) error {
	p.Y.Label.Text = "ratio"
	ids := []string{"reads-1", "reads-16", "reads-64", "standard-1", "standard-16", "standard-64", "policies-1", "policies-16", "policies-64", "writes-64", "handshakes"}
	names := []string{"reads, 1", "reads, 16", "reads, 64", "http, 1", "http, 16", "http, 64", "policies, 1", "16", "64", "writes, 64", "new conn."}
	var shown []string
	var rounds plotter.XYs
	for i, id := range ids {
		row, ok := r.row(id)
		if !ok {
			continue
		}
		at := float64(len(shown))
		shown = append(shown, names[i])
		for _, s := range row.Samples {
			rounds = append(rounds, plotter.XY{X: at, Y: s.Ratio()})
		}
		line, err := plotter.NewLine(plotter.XYs{{X: at - 0.35, Y: row.Target}, {X: at + 0.35, Y: row.Target}})
		if err != nil {
			return err
		}
		line.Color, line.Width = ceilingColor(), vg.Points(3)
		p.Add(line)
		if at == 0 {
			p.Legend.Add("target, from below", line)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	points, err := plotter.NewScatter(rounds)
	if err != nil {
		return err
	}
	points.GlyphStyle = draw.GlyphStyle{Color: nexusColor(), Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
	p.Add(points)
	p.Legend.Add("a round", points)
	p.NominalX(shown...)
	p.Y.Min, p.Y.Max = 0, max(p.Y.Max, 1)*1.2
	return nil
}
