package composetest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
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
	s.compile(t, program, "./internal/composetest/probe")
	must(t, s.Image(t.Context(), "probe", program))
}

// compile builds a program that needs nothing else in its image.
func (s *Stack) compile(t *testing.T, to, from string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", to, from)
	cmd.Dir, cmd.Env = s.root, append(cmd.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
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
		meet := "meet=" + address(fmt.Sprintf("keeper-%d", i+1), "control") + ":8443"
		reached, hidden = append(reached, [2]string{meet, fmt.Sprintf("ok /spike/keeper/%d", i+1)}), append(hidden, [2]string{meet, "no"})
	}
	s.try(t, 65534, s.Name("control"), nil, reached...)

	nexus := [][2]string{{"look-up=nexus", "ok"}, {"meet=nexus:8553", "ok /spike/nexus"}, {"meet=" + address("nexus", "control") + ":8553", "no"}}
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
	s.try(t, Workload, "bridge", nil, append(hidden, [2]string{"meet=" + address("nexus", "access") + ":8553", "no"})...)

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

// host: what this machine listens at is out of reach for all but Nexus, and with the rule
// that the page has, for Nexus as well.
func host(t *testing.T, s *Stack) {
	s.probe(t)
	listener, err := net.Listen("tcp4", ":0")
	must(t, err)
	defer func() { must(t, listener.Close()) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)
	gateway := s.docker(t, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", s.Name("publish"))
	open := [2]string{"dial=" + net.JoinHostPort(gateway, port), "ok"}
	closed := [2]string{open[0], "no"}

	for network, uid := range map[string]int{"control": Keeper + 1, "access": Workload} {
		attempts := [][2]string{closed}
		config := s.docker(t, "network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", s.Name(network))
		subnet, err := netip.ParsePrefix(strings.TrimSpace(config))
		must(t, err)
		// The first address is what the engine gives the host.
		attempts = append(attempts, [2]string{"dial=" + net.JoinHostPort(subnet.Masked().Addr().Next().String(), port), "no"})
		addresses, err := net.InterfaceAddrs()
		must(t, err)
		for _, a := range addresses {
			if ip := a.(*net.IPNet).IP; ip.To4() != nil && !ip.IsLoopback() {
				if subnet.Contains(netip.AddrFrom4([4]byte(ip.To4()))) {
					t.Errorf("the host has the address %s in the network %s", ip, network)
				}
				attempts = append(attempts, [2]string{"dial=" + net.JoinHostPort(ip.String(), port), "no"})
			}
		}
		s.try(t, uid, s.Name(network), nil, attempts...)
	}

	s.try(t, Nexus, s.Name("publish"), nil, open)
	rule := strings.ReplaceAll(s.block(t, "docs/hardening.md", "  ```text\n  bridge="), "spike_publish", s.Name("publish"))
	undo := strings.Replace(rule, "iptables -I", "iptables -D", 1)
	if undo == rule {
		t.Fatalf("the page has no such rule: %q", rule)
	}
	_, err = s.must(t.Context(), nil, "/bin/bash", "-euc", rule)
	must(t, err)
	defer func() {
		_, err := s.must(context.WithoutCancel(t.Context()), nil, "/bin/bash", "-euc", undo)
		must(t, err)
	}()
	s.try(t, Nexus, s.Name("publish"), nil, closed)
	s.published(t)
}

// block is the fenced block of a page that begins with a text.
func (s *Stack) block(t *testing.T, page, begin string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.root, page))
	must(t, err)
	_, block, found := strings.Cut(string(content), begin)
	block, _, ends := strings.Cut(block, "```\n")
	if !found || !ends {
		t.Fatalf("%s has no block that begins with %q", page, begin)
	}
	_, begin, _ = strings.Cut(begin, "\n")
	return begin + block
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
