// Package measure runs the measurements, and says how each compares with what it
// should be.
package measure

import "slices"

// Row is one line of the table.
type Row struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Against says what Base is in the samples; "" where a figure stands for itself.
	Against string `json:"against,omitempty"`
	// Target bounds the ratio, or the figure that stands for itself: from below
	// where more is better. A row without one explains others.
	Target       float64  `json:"target"`
	MoreIsBetter bool     `json:"moreIsBetter"`
	Samples      []Sample `json:"samples"`
}

// Sample is what one round measured.
type Sample struct {
	Value float64 `json:"value"`
	Base  float64 `json:"base,omitempty"`
	// CPU is how many microseconds of processor time the server took for one
	// request; BaseCPU is that of what it is compared with.
	CPU     float64 `json:"cpu,omitempty"`
	BaseCPU float64 `json:"baseCPU,omitempty"`
}

// Ratio is what the target is for.
func (s Sample) Ratio() float64 {
	if s.Base == 0 {
		return s.Value
	}
	return s.Value / s.Base
}

// Summary is what a row comes to.
type Summary struct {
	Value       float64 `json:"value"` // medians
	Base        float64 `json:"base,omitempty"`
	CPU         float64 `json:"cpu,omitempty"`
	BaseCPU     float64 `json:"baseCPU,omitempty"`
	Ratio       float64 `json:"ratio"`
	Lowest      float64 `json:"lowest"` // ratios of the rounds
	Highest     float64 `json:"highest"`
	MeetsTarget bool    `json:"meetsTarget"`
}

// Summary returns medians over the rounds. Each ratio is that of one round, in
// which both sides had the same neighbours.
func (r *Row) Summary() Summary {
	of := func(f func(Sample) float64) []float64 {
		list := make([]float64, len(r.Samples))
		for i, s := range r.Samples {
			list[i] = f(s)
		}
		slices.Sort(list)
		return list
	}
	ratios := of(Sample.Ratio)
	s := Summary{
		Value: median(of(func(s Sample) float64 { return s.Value })), Base: median(of(func(s Sample) float64 { return s.Base })),
		CPU: median(of(func(s Sample) float64 { return s.CPU })), BaseCPU: median(of(func(s Sample) float64 { return s.BaseCPU })),
		Ratio: median(ratios),
	}
	if len(ratios) > 0 {
		s.Lowest, s.Highest = ratios[0], ratios[len(ratios)-1]
	}
	s.MeetsTarget = len(ratios) > 0 && (r.MoreIsBetter && s.Ratio >= r.Target || !r.MoreIsBetter && s.Ratio <= r.Target)
	return s
}

// median is that of a sorted list, 0 of an empty one.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
