package paper_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/paper"
	"github.com/spiffe/spike/internal/shard"
)

func set(seed byte, n int) *paper.Set {
	s := &paper.Set{Cluster: "c-1", KeyID: "k-1", Threshold: 2, Made: time.Unix(0, 0), Shards: map[int]shard.Value{}}
	for i := 1; i <= n; i++ {
		s.Shards[i] = shard.Value{seed, byte(i)}
	}
	return s
}

// content reads every file below dir, so that a change of any kind shows.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatIsWrittenCanBeRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "paper")
	want := set(7, 12)
	files, err := paper.Write(dir, want, false)
	if err != nil || len(files) != 12 || files[9] != filepath.Join(dir, "shard-10.txt") {
		t.Fatalf("got %v, %v", files, err)
	}
	for i, file := range files {
		got, err := paper.ReadFile(file)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v", file, err)
		}
		s := got[0]
		if s.Index != i+1 || *s.Value != want.Shards[i+1] || s.Head != (paper.Head{Cluster: "c-1", KeyID: "k-1"}) {
			t.Errorf("%s came back as shard %d of %+v", file, s.Index, s.Head)
		}
	}
	want.Wipe()
	if len(want.Shards) != 0 {
		t.Error("the shards are still there")
	}
}

func TestASetReplacesAnotherAsAWhole(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "paper")
	if _, err := paper.Write(dir, set(7, 5), false); err != nil {
		t.Fatal(err)
	}
	before := content(t, parent)
	if _, err := paper.Write(dir, set(8, 3), false); !errors.Is(err, paper.ErrOlderSet) {
		t.Errorf("got %v", err)
	}
	for name, bad := range map[string]*paper.Set{
		"none": set(8, 0), "too few": set(8, 1), "zero": {Shards: map[int]shard.Value{1: {}}},
		"twice": {Shards: map[int]shard.Value{1: {1}, 2: {1}}}, "index": {Shards: map[int]shard.Value{0: {1}}},
	} {
		if _, err := paper.Write(dir, bad, true); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if after := content(t, parent); !maps.Equal(before, after) {
		t.Fatalf("something changed: %d files, then %d", len(before), len(after))
	}
	if _, err := paper.Write(dir, set(8, 3), true); err != nil {
		t.Fatal(err)
	}
	if after := content(t, parent); len(after) != 3 {
		t.Errorf("%d files are left of 5 and 3", len(after))
	}
}

// TestUnfitFolders has places in which nothing is written, and nothing changes.
// What the command says about each is in its script.
func TestUnfitFolders(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "paper")
	if _, err := paper.Write(dir, set(7, 3), false); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "shard-1.txt")
	before := content(t, parent)
	for _, unfit := range []string{file, filepath.Join(file, "below")} {
		if _, err := paper.Write(unfit, set(8, 3), true); !errors.Is(err, paper.ErrFolder) {
			t.Errorf("%s: got %v", unfit, err)
		}
	}
	// What looks like a shard by its name and is not would be lost.
	if err := os.Mkdir(filepath.Join(dir, "shard-9.txt"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := paper.Write(dir, set(8, 3), true); !errors.Is(err, paper.ErrFolder) {
		t.Errorf("a folder named as a shard: got %v", err)
	}
	if after := content(t, parent); !maps.Equal(before, after) {
		t.Errorf("something changed: %d files, then %d", len(before), len(after))
	}
}

// TestWhatIsLeft has a set that is in its place, on a disk that then fails. It must
// not be called missing, and an older one is kept: it is the one that is on disk.
func TestWhatIsLeft(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "paper")
	broken := errors.New("input/output error")
	parentFails := func(folder string) error {
		if folder == parent {
			return broken
		}
		return nil
	}
	files, err := paper.WriteWith(dir, set(7, 3), false, parentFails)
	if len(files) != 3 || !errors.Is(err, broken) || errors.Is(err, paper.ErrLeft) {
		t.Errorf("got %v, %v", files, err)
	}
	if left, err := paper.Leftovers(dir); err != nil || len(left) != 0 || len(content(t, dir)) != 3 {
		t.Errorf("left: %v, %v", left, err)
	}
	files, err = paper.WriteWith(dir, set(8, 5), true, parentFails)
	if len(files) != 5 || !errors.Is(err, broken) || !errors.Is(err, paper.ErrLeft) {
		t.Errorf("got %v, %v", files, err)
	}
	left, leftErr := paper.Leftovers(dir)
	if leftErr != nil || len(left) != 1 || !strings.Contains(err.Error(), left[0]) || len(content(t, left[0])) != 3 {
		t.Errorf("left: %v, %v", left, leftErr)
	}

	// Before the set is in its place, nothing has changed.
	before := content(t, parent)
	files, err = paper.WriteWith(dir, set(9, 4), true, func(string) error { return broken })
	if files != nil || !errors.Is(err, broken) || !maps.Equal(before, content(t, parent)) {
		t.Errorf("got %v, %v", files, err)
	}
}

// TestHardEnd kills a program, which is this one again, once shards are written and
// before the set is in its place.
func TestHardEnd(t *testing.T) {
	const name = "SPIKE_TEST_PAPER"
	if dir := os.Getenv(name); dir != "" {
		_, err := paper.WriteWith(dir, set(7, 3), false, func(string) error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) })
		t.Fatalf("still there: %v", err)
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "paper")
	again := exec.Command(os.Args[0], "-test.run=^TestHardEnd$")
	again.Env = append(os.Environ(), name+"="+dir)
	out, err := again.CombinedOutput()
	var exit *exec.ExitError
	if status, ok := again.ProcessState.Sys().(syscall.WaitStatus); !ok || !errors.As(err, &exit) || status.Signal() != syscall.SIGKILL {
		t.Fatalf("it was not killed: %v: %s", err, out)
	}
	left, err := paper.Leftovers(dir)
	if err != nil || len(left) != 1 || len(content(t, left[0])) != 3 {
		t.Fatalf("left: %v, %v", left, err)
	}
	// It may be another program's that writes now, so the next set leaves it alone.
	if _, err := paper.Write(dir, set(7, 3), false); err != nil || len(content(t, left[0])) != 3 {
		t.Errorf("got %v", err)
	}
}

// TestLeftovers has folders that look like one that a run left behind.
func TestLeftovers(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "paper")
	for _, name := range []string{".paper.new-12", ".paper.new-12.older", ".paper.new-", ".paper.new-x", ".paper.new", "paper.new-1", ".paper2.new-1"} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(parent, ".paper.new-3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(parent, ".paper.new-12"), filepath.Join(parent, ".paper.new-12.older")}
	if left, err := paper.Leftovers(dir); err != nil || !slices.Equal(left, want) {
		t.Errorf("got %v, %v", left, err)
	}
	if left, err := paper.Leftovers(filepath.Join(parent, "none", "paper")); err != nil || left != nil {
		t.Errorf("got %v, %v", left, err)
	}
}

// TestWipe checks that a shard is nowhere once it was wiped, however it was passed
// on before.
func TestWipe(t *testing.T) {
	shards, err := paper.Read(strings.NewReader("spike:1:"+strings.Repeat("ca", 32)), "it")
	if err != nil {
		t.Fatal(err)
	}
	passedOn := append([]paper.Shard{}, shards...)
	paper.Wipe(shards)
	if *passedOn[0].Value != (shard.Value{}) {
		t.Error("a copy is still there")
	}
}

func TestReadRefuses(t *testing.T) {
	line := "spike:1:" + strings.Repeat("ca", 32)
	for name, text := range map[string]string{
		"empty": "", "remarks": "# x\n\n", "short": line[:70], "other": "hello\n", "large": strings.Repeat("#\n", 1<<16),
		"second line": line + "\n" + line + "x\n", "binary": "\xff\x00",
	} {
		_, err := paper.Read(strings.NewReader(text), "it")
		if !errors.Is(err, shard.ErrFormat) {
			t.Errorf("%s: got %v", name, err)
		} else if strings.Contains(err.Error(), "caca") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
	got, err := paper.Read(strings.NewReader("# cluster: a\n# key: 1\n"+line+"\n# cluster: b\n"+line+"\r\n"), "it")
	if err != nil || len(got) != 2 || got[0].Head != (paper.Head{Cluster: "a", KeyID: "1"}) || got[1].Head != (paper.Head{Cluster: "b"}) {
		t.Errorf("got %d shards, %v", len(got), err)
	}
}

// TestLineBeforeRemarks has remarks that are not those of the line below them.
func TestLineBeforeRemarks(t *testing.T) {
	v := shard.Value{7}
	line := string(shard.Line(1, &v, shard.Origin{Cluster: "c-1", KeyID: "k-1"}))
	got, err := paper.Read(strings.NewReader("# cluster: c-9\n# key: k-9\n"+line), "it")
	if err != nil || len(got) != 1 || got[0].Head != (paper.Head{Cluster: "c-1", KeyID: "k-1"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAlike(t *testing.T) {
	of := func(cluster, key string) paper.Shard {
		return paper.Shard{Head: paper.Head{Cluster: cluster, KeyID: key}, Value: new(shard.Value)}
	}
	for name, test := range map[string]struct {
		shards []paper.Shard
		mixed  bool
	}{
		"none":            {nil, false},
		"one":             {[]paper.Shard{of("c", "k")}, false},
		"the same":        {[]paper.Shard{of("c", "k"), of("c", "k")}, false},
		"unknown between": {[]paper.Shard{of("", ""), of("c", "k"), of("", ""), of("c", "k")}, false},
		"cluster alone":   {[]paper.Shard{of("c", "k"), of("c", "")}, false},
		"another cluster": {[]paper.Shard{of("c", "k"), of("", ""), of("d", "k")}, true},
		"another key":     {[]paper.Shard{of("c", "k"), of("c", "l")}, true},
	} {
		if err := paper.Alike(test.shards); errors.Is(err, paper.ErrMixed) != test.mixed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("# cluster: c\nspike:1:" + strings.Repeat("ca", 32))
	f.Add("spike:1:\n")
	f.Add("\n#\n")
	f.Fuzz(func(t *testing.T, text string) {
		shards, err := paper.Read(strings.NewReader(text), "it")
		if (err == nil) != (len(shards) > 0) {
			t.Errorf("%d shards and %v", len(shards), err)
		}
		for _, s := range shards {
			if line := string(shard.Line(s.Index, s.Value, shard.Origin{})); !strings.Contains(strings.ToLower(text), line) {
				t.Error("a shard that was not given")
			}
		}
	})
}
