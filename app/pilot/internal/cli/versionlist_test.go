package cli

import (
	"slices"
	"testing"
)

func TestVersionList(t *testing.T) {
	for in, want := range map[string][]int{
		"1": {1}, "0": {0}, "3,1,2": {1, 2, 3}, "1,1": {1}, "2-4": {2, 3, 4}, "7-7": {7}, " 1 , 3-4 ": {1, 3, 4}, "2147483647": {1<<31 - 1},
	} {
		var l versionList
		if err := l.Set(in); err != nil || !slices.Equal(l, want) {
			t.Errorf("%q: got %v, %v", in, l, err)
		}
	}
	for _, in := range []string{
		"", ",", "1,", "a", "-1", "1-", "-", "4-2", "0-2", "1-2-3", "1.5", "+1", "1 2", "0x1", "2147483648", "1-2147483647", "1-1001", "٣",
	} {
		l := versionList{9}
		if err := l.Set(in); err == nil || !slices.Equal(l, []int{9}) {
			t.Errorf("%q was taken: %v", in, l)
		}
	}
	var l versionList
	for _, in := range []string{"1-600", "601-1000"} {
		if err := l.Set(in); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	if err := l.Set("1001"); err == nil || len(l) != mostVersions {
		t.Errorf("%d versions: %v", len(l), err)
	}
}

// FuzzVersionList checks that a list is sorted, bounded, and comes back from how
// it is written.
func FuzzVersionList(f *testing.F) {
	for _, seed := range []string{"1,2", "3-5", "0", "1-1000", "9,8,7-9", "", "-", "1--2", "99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var l, back versionList
		if l.Set(in) != nil {
			return
		}
		if len(l) == 0 || len(l) > mostVersions || l[0] < 0 || !slices.IsSorted(l) || len(slices.Compact(slices.Clone(l))) != len(l) {
			t.Errorf("%q became %v", in, l)
		}
		if err := back.Set(l.String()); err != nil || !slices.Equal(l, back) {
			t.Errorf("%v came back as %v: %v", l, back, err)
		}
	})
}
