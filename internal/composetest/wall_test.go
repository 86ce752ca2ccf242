package composetest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// probe builds the program that tries what should not work, once.
func (s *Stack) probe(t *testing.T) {
	t.Helper()
	if s.docker(t, "image", "ls", "-q", s.project+"/probe") != "" {
		return
	}
	program := filepath.Join(t.TempDir(), "probe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./internal/composetest/probe")
	cmd.Dir, cmd.Env = s.root, append(cmd.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	must(t, s.Image(t.Context(), "probe", program))
}

// try makes attempts from inside a container as a user in a network, and compares how
// each went: "ok", "ok" and what was found, or "no" for one that must fail.
func (s *Stack) try(t *testing.T, uid int, network string, options []string, attempts ...[2]string) {
	t.Helper()
	var args []string
	for _, a := range attempts {
		args = append(args, a[0])
	}
	r, err := s.Inside(t.Context(), "probe", uid, network, options, args...)
	must(t, err)
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	if r.Code != 0 || len(lines) != len(attempts) {
		t.Fatalf("the probe's exit code is %d:\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for i, a := range attempts {
		went := strings.TrimPrefix(lines[i], a[0]+": ")
		worked := went == "ok" || strings.HasPrefix(went, "ok ")
		if a[1] == "no" && worked || a[1] != "no" && went != a[1] {
			t.Errorf("as %d in %s, %s went %q, and should %q", uid, network, a[0], went, a[1])
		}
	}
}

// walls: from where Pilot and workloads are, there is Nexus, and nothing else.
func walls(t *testing.T, s *Stack) {
	s.probe(t)
	address := func(service, network string) string {
		return s.docker(t, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", s.Name(network)),
			s.container(t, service))
	}
	// That these can be reached at all is shown first, from where Nexus is.
	const name = "look-up=keeper-1"
	reached, hidden := [][2]string{{name, "ok"}}, [][2]string{}
	for i := range 3 {
		dial := "dial=" + address(fmt.Sprintf("keeper-%d", i+1), "control") + ":8443"
		reached, hidden = append(reached, [2]string{dial, "ok"}), append(hidden, [2]string{dial, "no"})
	}
	s.try(t, 65534, s.Name("control"), nil, reached...)

	nexus := [][2]string{{"look-up=nexus", "ok"}, {"dial=nexus:8553", "ok"}, {"dial=" + address("nexus", "control") + ":8553", "no"}}
	inside := [][2]string{
		{"become=0", "no"}, {"write=/", "no"}, {"write=/workload-api", "no"}, {"write=/proc/sys", "no"}, {"read=/data", "no"},
		{fmt.Sprintf("become=%d", Nexus), "no"}, {"mount=/workload-api", "no"}, {"raw", "no"},
	}
	s.try(t, Superuser, s.Name("access"), nil, slices.Concat(nexus, hidden, [][2]string{{name, "no"}}, inside)...)
	s.try(t, Workload, s.Name("access"), nil, slices.Concat(nexus, inside)...)
	s.try(t, 0, s.Name("access"), nil, slices.Concat(hidden, inside[1:])...) // root is root already
	// Neither is there another way to Keepers from beside Nexus's port, nor from other
	// containers of this engine.
	s.try(t, Workload, s.Name("publish"), nil, hidden...)
	s.try(t, Workload, "bridge", nil, append(hidden, [2]string{"dial=" + address("nexus", "access") + ":8553", "no"})...)

	// A user is an identity, exactly one.
	const ids = "ids=unix:///workload-api/identity.sock"
	for uid, want := range map[int]string{
		Nexus: "/spike/nexus", Keeper + 2: "/spike/keeper/2", Init: "/spike/pilot/role/superuser/init",
		Superuser: "/spike/pilot/role/superuser", Recover: "/spike/pilot/role/recover", Restore: "/spike/pilot/role/restore",
		Workload: "/ns/shop/sa/web",
	} {
		s.try(t, uid, "none", nil, [2]string{ids, "ok " + want})
	}
	for _, uid := range []int{0, Identity, 1000, 65534} {
		s.try(t, uid, "none", nil, [2]string{ids, "no"})
	}
}

// volumes belong to one user each, from their first start.
func volumes(t *testing.T, s *Stack) {
	s.probe(t)
	owners := map[string]int{"data": Nexus, "recovery": Recover, "backup": Superuser}
	var mounted []string
	for volume := range owners {
		mounted = append(mounted, "-v", s.Name(volume)+":/"+volume)
	}
	for _, uid := range []int{0, Identity, Nexus, Keeper + 1, Superuser, Recover, Restore, Workload} {
		var attempts [][2]string
		for volume, owner := range owners {
			at, own := "/"+volume, "no"
			if uid == owner {
				own = "ok"
			}
			attempts = append(attempts, [2]string{"owner=" + at, fmt.Sprintf("ok %d:%d 0700", owner, owner)},
				[2]string{"read=" + at, own}, [2]string{"write=" + at, own})
		}
		s.try(t, uid, "none", mounted, attempts...)
	}
	const at = "/workload-api"
	s.try(t, Workload, "none", nil, [2]string{"owner=" + at, fmt.Sprintf("ok %d:%d 0755", Identity, Identity)},
		[2]string{"read=" + at, "ok"}, [2]string{"write=" + at, "no"})
	// The same where it is not mounted read-only.
	s.try(t, Workload, "none", []string{"-v", s.Name("workload-api") + ":/elsewhere"}, [2]string{"write=/elsewhere", "no"})
}
