package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spiffe/spike/internal/api"
)

// mostVersions is what Nexus takes. A mistyped range is refused here rather than
// counted out.
const mostVersions = api.MaxVersionsNamed

// versionList is the value of a flag that names versions: 1,2 or 3-5. Sorted,
// each once. 0 is the current version.
type versionList []int

func (l *versionList) String() string {
	out := make([]string, len(*l))
	for i, n := range *l {
		out[i] = strconv.Itoa(n)
	}
	return strings.Join(out, ",")
}

// Type is what help calls the flag's value.
func (*versionList) Type() string { return "LIST" }

// Set adds what s names; the flag can be repeated. When it fails, nothing is
// added.
func (l *versionList) Set(s string) error {
	all := slices.Clone(*l)
	for part := range strings.SplitSeq(s, ",") {
		low, high, err := span(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		if high-low >= mostVersions-len(all) {
			return fmt.Errorf("it names more than %d versions", mostVersions)
		}
		for n := low; n <= high; n++ {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	*l = slices.Compact(all)
	return nil
}

// span reads N or N-M.
func span(s string) (low, high int, err error) {
	from, to, ranged := strings.Cut(s, "-")
	low, errLow := number(from)
	if !ranged {
		return low, low, errLow
	}
	high, errHigh := number(to)
	switch {
	case errLow != nil || errHigh != nil:
		return 0, 0, errors.Join(errLow, errHigh)
	case low == 0 || high < low:
		// 0 is no number of a version, so no range begins there.
		return 0, 0, errors.New("a range goes up, from 1 or more: 3-5")
	}
	return low, high, nil
}

// number reads digits alone: no sign, which a range would not leave anyway.
func number(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("write version numbers, as in 1,2 or 3-5; 0 is the current one")
	}
	return int(n), nil
}
