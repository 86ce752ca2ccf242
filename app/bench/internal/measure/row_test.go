package measure

import (
	"os"
	"slices"
	"testing"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row  Row
		want Summary
	}{
		"more is better": {
			Row{Target: 0.9, MoreIsBetter: true, Samples: []Sample{{Value: 80, Base: 100}, {Value: 190, Base: 200}, {Value: 90, Base: 100, CPU: 3, BaseCPU: 2}}},
			Summary{Value: 90, Base: 100, Ratio: 0.9, Lowest: 0.8, Highest: 0.95, MeetsTarget: true},
		},
		"too little": {
			Row{Target: 0.9, MoreIsBetter: true, Samples: []Sample{{Value: 89, Base: 100}}},
			Summary{Value: 89, Base: 100, Ratio: 0.89, Lowest: 0.89, Highest: 0.89},
		},
		"less is better": {
			Row{Target: 2, Samples: []Sample{{Value: 3, Base: 2}, {Value: 5, Base: 2}}},
			Summary{Value: 4, Base: 2, Ratio: 2, Lowest: 1.5, Highest: 2.5, MeetsTarget: true},
		},
		"for itself": {
			Row{Target: 10, Samples: []Sample{{Value: 11}}}, Summary{Value: 11, Ratio: 11, Lowest: 11, Highest: 11},
		},
		"nothing measured": {Row{Target: 10}, Summary{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.row.Summary(); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	times, err := Flush(folder, 5)
	if err != nil || len(times) != 5 || times[0] <= 0 || !slices.IsSorted(times) {
		t.Errorf("got %v, %v", times, err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := Flush(folder+"/none", 1); err == nil {
		t.Error("a folder that is not there was measured")
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 100_000: "100,000", 1_002_003: "1,002,003"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: got %s", n, got)
		}
	}
}
