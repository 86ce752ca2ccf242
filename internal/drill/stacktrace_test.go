package main

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/composetest"
)

const (
	paperShard  = "this is recovery shard number 1!"
	keeperShard = "this is the share of Keeper no 1"
)

// fakeDocker puts an engine in the place of the real one, which has one container,
// c1, and gives out what is in the folder that is returned: log, diff, and for each
// volume an archive of that name. It notes what it is told to remove.
func fakeDocker(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	const program = `#!/bin/sh
cd "$FAKE_DOCKER" || exit 1
case "$1 $2" in
"ps -a") cat ps ;;
"volume ls") cat volumes ;;
"logs "*) cat log.out; cat log.err >&2 ;;
"diff "*) cat diff ;;
"export "*) cat root ;;
"create "*) for word; do case $word in *:/volume:ro) echo "${word%%:*}" ;; esac; done ;;
"cp "*) cat "${2%%:*}" ;;
"rm "*) echo "$3" >>removed ;;
*) echo "not known: $*" >&2; exit 1 ;;
esac
`
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("FAKE_DOCKER", dir)
	return dir
}

func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestStackSearch hides shares wherever a cluster in containers leaves something, and
// wants each found; and nothing to look into is no success.
func TestStackSearch(t *testing.T) {
	for name, test := range map[string]struct {
		change func(files map[string]string, s *stack)
		want   string // in the error; empty for none
	}{
		"clean": {func(map[string]string, *stack) {}, ""},
		"recovery shards in their volume": {func(f map[string]string, _ *stack) {
			f["p_recovery"] = archive(t, map[string]string{"shard-1.txt": paperShard})
		}, ""},
		"another share in that volume": {func(f map[string]string, _ *stack) {
			f["p_recovery"] = archive(t, map[string]string{"x": keeperShard})
		}, "the volume p_recovery: x has the share of Keeper 1"},
		"a log": {func(f map[string]string, _ *stack) { f["log.err"] = paperShard }, "the log of nexus has recovery shard 1"},
		"the store": {func(f map[string]string, _ *stack) {
			f["p_data"] = archive(t, map[string]string{"spike.db": "…" + keeperShard})
		}, "the volume p_data: spike.db has"},
		"a recovery shard elsewhere": {func(f map[string]string, _ *stack) {
			f["p_backup"] = archive(t, map[string]string{"x": paperShard})
		}, "the volume p_backup: x has"},
		"a core file in a container": {func(f map[string]string, _ *stack) {
			f["diff"], f["root"] = "A /core", archive(t, map[string]string{"core": keeperShard})
		}, "the container nexus: core has"},
		"a command's output": {func(_ map[string]string, s *stack) {
			s.said = append(s.said, said{"spike x", keeperShard})
		}, `the output of "spike x" has`},
		"what people keep": {func(_ map[string]string, s *stack) {
			if err := os.WriteFile(filepath.Join(s.kept, "backup"), []byte(keeperShard), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "backup has the share of Keeper 1"},
		"no container":     {func(f map[string]string, _ *stack) { f["ps"] = "" }, "no container"},
		"no log":           {func(f map[string]string, _ *stack) { f["log.out"] = "" }, "no container of the cluster has a log"},
		"no volume":        {func(f map[string]string, _ *stack) { f["volumes"] = "" }, "the store has no file"},
		"an empty store":   {func(f map[string]string, _ *stack) { f["p_data"] = archive(t, nil) }, "the store has no file"},
		"no command":       {func(_ map[string]string, s *stack) { s.said = nil }, "no command has run"},
		"a volume is gone": {func(f map[string]string, _ *stack) { delete(f, "p_data") }, "exit code 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fakeDocker(t)
			none, err := composetest.New(t.TempDir(), "p")
			if err != nil {
				t.Fatal(err)
			}
			s := &stack{Stack: none, kept: t.TempDir(), keys: &stackKeys{}, said: []said{{"spike status", "fine"}}}
			s.keys.all.Add("recovery shard 1", []byte(paperShard))
			s.keys.all.Add("the share of Keeper 1", []byte(keeperShard))
			s.keys.withoutPaper.Add("the share of Keeper 1", []byte(keeperShard))
			files := map[string]string{
				"ps": "c1 nexus\n", "log.out": "started", "log.err": "", "diff": "", "volumes": "p_data\np_recovery\np_backup\n",
				"p_data": archive(t, map[string]string{"spike.db": "…"}), "p_recovery": archive(t, nil), "p_backup": archive(t, nil),
			}
			test.change(files, s)
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err = s.search(t.Context())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestNothingIsLeft: the program was killed, and of its cluster no container is left,
// but other things are.
func TestNothingIsLeft(t *testing.T) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ps", "network", "volume", "image"} {
		t.Run(kind, func(t *testing.T) {
			bin := t.TempDir()
			write := func(name, content string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(bin, name), []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write("go", "#!/bin/sh\nprintf '#!/bin/sh\\nmkdir \"$TMPDIR/kept\"\\necho $TMPDIR >\"$FAKE/folder\"\\nkill -9 $$\\n' >\"$3\"\nchmod +x \"$3\"\n")
			write("docker", `#!/bin/sh
case "$1 $2" in
"ps "* | "network ls" | "volume ls" | "image ls") [ "$1" != "$KIND" ] || echo one ;;
*) echo "$*" >>"$FAKE/done" ;;
esac
`)
			cmd := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "drill"), "--compose")
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "FAKE="+bin, "KIND="+kind)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("a drill that was killed is a success:\n%s", out)
			}
			done, err := os.ReadFile(filepath.Join(bin, "done"))
			want := map[string]string{"ps": "rm -f one\n", "network": "network rm one\n", "volume": "volume rm one\n", "image": "image rm -f one\n"}[kind]
			if err != nil || string(done) != want {
				t.Errorf("it did %q, %v; want %q\n%s", done, err, want, out)
			}
			folder, err := os.ReadFile(filepath.Join(bin, "folder"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(strings.TrimSpace(string(folder))); !os.IsNotExist(err) {
				t.Errorf("its folder, which has recovery shards, is left: %v", err)
			}
		})
	}
}

// TestNobodysClusterIsLost: drills are held on a cluster of their own, even if another
// is named.
func TestNobodysClusterIsLost(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"--compose=spike", "--only", "no drill has this name"}, &out, &out)
	if err == nil || !strings.Contains(err.Error(), "may be somebody's") {
		t.Errorf("got %v", err)
	}
}

// TestTheDrillEndsFirst: a signal comes for scripts/drill alone. What the program has
// made is removed when it cannot make more.
func TestTheDrillEndsFirst(t *testing.T) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, content := range map[string]string{
		"go": `#!/bin/sh
cat >"$3" <<'END'
#!/bin/bash
trap 'sleep 0.2; echo ended >>"$FAKE/done"; exit 1' TERM
echo started
while [ -d "$FAKE" ]; do sleep 0.1; done
END
chmod +x "$3"
`,
		"docker": "#!/bin/sh\necho removing >>\"$FAKE/done\"\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "drill"), "--compose")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "FAKE="+bin)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 100))
	}
	if err == nil {
		err = cmd.Process.Signal(syscall.SIGTERM)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a drill that was ended is a success")
	}
	done, err := os.ReadFile(filepath.Join(bin, "done"))
	if err != nil || !strings.HasPrefix(string(done), "ended\nremoving\n") {
		t.Errorf("it did %q, %v", done, err)
	}
}
