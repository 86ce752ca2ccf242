package composetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/clustertest"
)

// shell runs a piece of bash with the functions of scripts/container, and returns what
// it prints.
func shell(t *testing.T, script string, args ...string) string {
	t.Helper()
	root, err := clustertest.Root()
	must(t, err)
	const begin = `set -euo pipefail
		die() { echo "died: $*"; exit 1; }
		say() { echo "$*"; }
		project=p tool=(false) files=() servers=(identity keeper-1 keeper-2 keeper-3 nexus)
		for part in "$0"/scripts/container/*.sh; do . "$part"; done
		`
	cmd := exec.CommandContext(t.Context(), "/bin/bash", append([]string{"-c", begin + script, root}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = append(out, err.Error()...)
	}
	return strings.TrimSpace(string(out))
}

// TestRoleOf: a command of Pilot runs as the user of the role that it needs.
func TestRoleOf(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"operator recover":                          "recover",
		"operator recover --dir /recovery/x":        "recover",
		"operator --force recover":                  "recover",
		"operator --dir /recovery/operator recover": "recover",
		"-h operator restore":                       "restore",
		"operator restore --file x":                 "restore",
		"operator status":                           "superuser",
		"operator backup load recover":              "superuser",
		"secret put operator recover=x":             "superuser",
		"secret list":                               "superuser",
		"":                                          "superuser",
	} {
		if got := shell(t, `role_of "$@"`, strings.Fields(command)...); got != want {
			t.Errorf("%q runs as %s, and should as %s", command, got, want)
		}
	}
}

// TestVanished: a container that ends while all are looked at is no fault, and an engine
// that does not answer is one.
func TestVanished(t *testing.T) {
	t.Parallel()
	const engine = `docker() { case $1 in ps) echo a; echo b ;; inspect) echo "nexus up"; echo "$words" >&2; return 1 ;; esac; }
		words=$1; of_all x; echo "and on"`
	if got := shell(t, engine, "Error: No such object: b"); got != "nexus up\nand on" {
		t.Errorf("one that is gone: %q", got)
	}
	if got := shell(t, engine, "Cannot connect to the Docker daemon"); strings.Contains(got, "and on") {
		t.Errorf("an engine that is gone: %q", got)
	}
	if got := shell(t, `docker() { return 1; }; if list=$(of_all x); then echo "there are: $list"; fi`); got != "" {
		t.Errorf("an engine that lists nothing: %q", got)
	}
}

// TestReplace: Compose v2 judges itself whether a container is another by now, and its
// word counts, whatever hash it names; docker-compose 1.29 must not be asked to.
func TestReplace(t *testing.T) {
	t.Parallel()
	const compose = `id=1
		containers() { echo "$id"; }
		compose() { echo "compose $*" >&3; if [ "$1 $2" = "up -d" ]; then id=$after; fi; }
		quietly() { "$@"; }
		exec 3>&1
		old=$1 after=$2
		is_old() { [ -n "$old" ]; }
		if replace nexus; then echo new; else echo same; fi`
	for _, c := range []struct{ old, after, want string }{
		{"", "1", "compose up -d --no-build --no-deps nexus\nsame"},
		{"", "2", "compose up -d --no-build --no-deps nexus\nChanged, and made anew: nexus\nnew"},
		{"1", "2", "compose rm -s -f nexus\ncompose up -d --no-build --no-deps nexus\nChanged, and made anew: nexus\nnew"},
	} {
		if got := shell(t, compose, c.old, c.after); got != c.want {
			t.Errorf("old %q, another container %q:\n%s\nwant\n%s", c.old, c.after, got, c.want)
		}
	}
}

// TestPrune: an engine that removes images for somebody else just now is asked again,
// and one that cannot at all is not.
func TestPrune(t *testing.T) {
	t.Parallel()
	const engine = `fault=$1 busy=$2 asked=0
		sleep() { asked=$((asked + 1)); if [ "$asked" -ge "$busy" ]; then fault=""; fi; }
		docker() { if [ -n "$fault" ]; then echo "$fault"; return 1; fi; }
		if remove_dangling; then echo "removed after $asked"; else echo "left after $asked"; fi`
	const running = "Error response from daemon: a prune operation is already running"
	for _, c := range []struct{ fault, busy, want string }{
		{"", "0", "removed after 0"},
		{running, "3", "removed after 3"},
		{running, "99", running + "\nleft after 29"},
		{"Cannot connect to the Docker daemon", "3", "Cannot connect to the Docker daemon\nleft after 0"},
	} {
		if got := shell(t, engine, c.fault, c.busy); got != c.want {
			t.Errorf("%q, %s times: got %q, want %q", c.fault, c.busy, got, c.want)
		}
	}
}

// TestCheckout: a link to this checkout is this checkout, and a comma in a file's name,
// which the engine's label has between files as well, is a part of the name.
func TestCheckout(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	root, link, more := filepath.Join(folder, "a, b"), filepath.Join(folder, "link"), filepath.Join(folder, "x,y.yaml")
	must(t, os.Mkdir(root, 0o700), os.Symlink(root, link), os.WriteFile(filepath.Join(root, "docker-compose.yaml"), nil, 0o600),
		os.WriteFile(more, nil, 0o600))
	const script = `root=$1 files=("$1/docker-compose.yaml" "$4") from=$2 named=$3
		of_all() { if [[ $1 == *config_files* ]]; then echo "nexus $from|$named"; else echo "nexus $from"; fi; }
		check_checkout; check_files; echo ours`
	for _, c := range []struct{ folder, names, want string }{
		{root, root + "/docker-compose.yaml," + more, "ours"},
		{root, "docker-compose.yaml," + more, "ours"},
		{link, link + "/docker-compose.yaml," + more, "ours"},
		{root, "docker-compose.yaml", "died: the containers of p were made by the files " + root + "/docker-compose.yaml,"},
		{root, "docker-compose.yaml," + more + "z", "died: the containers of p were made by the files " + root + "/docker-compose.yaml:" + more + "z,"},
		{folder, "docker-compose.yaml", "died: a cluster named p runs already, from the checkout " + folder + "."},
	} {
		if got := shell(t, script, root, c.folder, c.names, more); !strings.HasPrefix(got, c.want) {
			t.Errorf("from %s with %s: %s\nwant %s", c.folder, c.names, got, c.want)
		}
	}
	const silent = `of_all() { return 1; }
		check_checkout; echo ours`
	if got := shell(t, silent); strings.Contains(got, "ours") {
		t.Errorf("with an engine that does not answer: %s", got)
	}
}

// TestPull: the engine does not fetch an image with one of our names from elsewhere.
func TestPull(t *testing.T) {
	t.Parallel()
	const create = `docker() { [ "$1" != create ] || echo "docker $*" >&2; }
		quietly() { "$@"; }
		with_volume recovery /recovery true`
	contains(t, shell(t, create), "docker create --pull never ")
}

// TestImagesOneByOne: while images are removed, nobody else builds or removes any.
func TestImagesOneByOne(t *testing.T) {
	t.Parallel()
	const script = `root=$1
		quietly() { "$@"; }
		docker() { if flock -n "$root/bin/.image.lock" true; then echo "docker $1 $2 beside others" >&2; fi; }
		remove_images
		flock -n "$root/bin/.image.lock" echo free`
	if got := shell(t, script, t.TempDir()); got != "free" {
		t.Errorf("it says %q", got)
	}
}

// TestWholeSet: no part of the recovery shards is taken for the set.
func TestWholeSet(t *testing.T) {
	t.Parallel()
	for docker, want := range map[string]string{
		`tar -c -C "$there" "$(basename "${2#*:}")"`:                             "whole",
		`[[ $2 != *shard-2.txt ]] && tar -c -C "$there" "$(basename "${2#*:}")"`: "part",
		`return 1`: "part", // no list of them, either
	} {
		there, to := t.TempDir(), t.TempDir()
		must(t, os.Mkdir(filepath.Join(there, "set"), 0o700))
		for _, name := range []string{"shard-1.txt", "shard-2.txt"} {
			must(t, os.WriteFile(filepath.Join(there, "set", name), []byte("x"), 0o600), os.WriteFile(filepath.Join(there, name), []byte("x"), 0o600))
		}
		got := shell(t, `there=$1 to=$2
			docker() { `+docker+`; }
			if unpack_shards "$to" set id 2>/dev/null; then echo whole; else echo part; fi`, there, to)
		if got != want {
			t.Errorf("with %s: %q, and should be %q", docker, got, want)
		}
	}
}

// bare is a checkout with what scripts/compose is made of, and nothing built.
func bare(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, name := range []string{"scripts", "config"} {
		must(t, os.CopyFS(filepath.Join(root, name), os.DirFS(filepath.Join(checkout, name))))
	}
	content, err := os.ReadFile(filepath.Join(checkout, "docker-compose.yaml"))
	must(t, err, os.WriteFile(filepath.Join(root, "docker-compose.yaml"), content, 0o600))
	return root
}

// TestNothingBuilt: docker-compose 1.29 wants the folders that images are built in, even
// to end containers.
func TestNothingBuilt(t *testing.T) {
	t.Parallel()
	s, err := New(bare(t), fmt.Sprintf("spike-test-%d", rand.Uint32()))
	must(t, err)
	s.script(t, 0, "", "ps")
	contains(t, s.script(t, 0, "", "down").Stdout, "There were no containers of "+s.project)
}

// TestProjectName: Compose by itself means the cluster that scripts/compose means.
func TestProjectName(t *testing.T) {
	t.Parallel()
	if got := strings.Join(lines(t, ".env"), "\n"); got != "COMPOSE_PROJECT_NAME=spike" {
		t.Errorf(".env has %q", got)
	}
	contains(t, strings.Join(lines(t, "scripts/compose"), "\n"), "COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-spike}")
}

// TestRoll: a Keeper is replaced when the one before has its share again, and recovery
// shards are kept before the first.
func TestRoll(t *testing.T) {
	t.Parallel()
	const roll = `keep_shards() { echo keep; }
		replace() { echo "replace $1"; [ "$1" != keeper-2 ]; }
		asked=0
		holds_share() { asked=$((asked + 1)); echo "ask $1"; [ $((asked % 2)) = 0 ]; }
		roll keeper-1 keeper-2 keeper-3`
	const want = "keep\nreplace keeper-1\nask keeper-1\nask keeper-1\nreplace keeper-2\nreplace keeper-3\nask keeper-3\nask keeper-3"
	if got := shell(t, roll); got != want {
		t.Errorf("it does\n%s\nand should do\n%s", got, want)
	}
}

// TestMayEnd goes through what may be ended, given what runs, what Nexus says, and
// whether recovery shards are kept.
func TestMayEnd(t *testing.T) {
	t.Parallel()
	const all, servers = "nexus keeper-1 keeper-2 keeper-3", "identity nexus keeper-1 keeper-2 keeper-3"
	for _, c := range []struct {
		runs, state, hold, shards, ends, want string
	}{
		{all, "open", "share share share", "no", servers, "refused"},
		{all, "open", "share share share", "yes", servers, "shards"},
		{all, "open", "share share share", "no", "nexus", "safe"},
		{all, "open", "share share share", "no", "nexus keeper-1", "safe"},
		{all, "open", "share share share", "no", "nexus keeper-1 keeper-2", "refused"},
		{all, "open", "share share share", "no", "keeper-1 keeper-2 keeper-3", "safe"},
		{all, "open", "share nothing nothing", "no", "nexus", "refused"},
		{all, "open", "share unknown unknown", "no", "nexus", "refused"},
		{all, "behind", "share share share", "no", servers, "refused"},
		{all, "locked", "share unknown unknown", "no", servers, "refused"},
		{all, "locked", "share nothing nothing", "no", servers, "lost"},
		{all, "locked", "share nothing nothing", "yes", servers, "shards"},
		{all, "uninitialized", "nothing nothing nothing", "no", servers, "nothing"},
		{all, "uninitialized", "foreign nothing nothing", "no", servers, "refused"},
		{all, "uninitialized", "foreign foreign foreign", "no", "nexus", "nothing"},
		{all, "failed", "share share share", "no", servers, "refused"},
		{all, "", "", "yes", servers, "refused"}, // no answer
		{all, "", "", "no", "nexus", "safe"},
		{all, "", "", "no", "keeper-1", "safe"},
		{"keeper-1 keeper-2 keeper-3", "", "", "yes", servers, "refused"},
		{"identity", "", "", "no", servers, "safe"},
		{"", "", "", "no", servers, "safe"},
		{all, "open", "share share share", "no", "identity shop-web", "safe"},
	} {
		status := fmt.Sprintf("{\n  \"state\": %q,\n  \"cluster\": \"%032d\",\n  \"threshold\": 2,\n  \"keepers\": [\n", c.state, 1)
		for i, holds := range strings.Fields(c.hold) {
			status += fmt.Sprintf("      \"url\": \"https://keeper-%d:8443\",\n      \"reachable\": true,\n      \"holds\": %q\n", i+1, holds)
		}
		const script = `there=$1 state=$2 said=$3 shards=$4 complaint="" reason=""
			shift 4
			running() { tr ' ' '\n' <<<"$there"; }
			look() { status=$said; [ -n "$state" ]; }
			has_shards() { [ "$shards" = yes ]; }
			if may_end "$@"; then echo "${kept:-safe}"; else echo refused; [ -n "$reason" ]; fi`
		if got := shell(t, script, append([]string{c.runs, c.state, status, c.shards}, strings.Fields(c.ends)...)...); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}

	const silent = `running() { return 1; }
		if may_end nexus; then echo safe; fi`
	if got := shell(t, silent); strings.Contains(got, "safe") {
		t.Errorf("with an engine that does not answer: %s", got)
	}
}
