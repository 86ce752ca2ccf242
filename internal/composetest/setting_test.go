package composetest

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// inspected is what the engine says of a container.
type inspected struct {
	State struct {
		Pid    int
		Health struct{ Status string }
	}
	Image  string
	Config struct{ User string }
	Mounts []struct {
		Name, Destination string
		RW                bool
	}
	NetworkSettings struct{ Networks map[string]any }
	HostConfig      struct {
		ReadonlyRootfs, Privileged, PublishAllPorts bool
		CapAdd, CapDrop, SecurityOpt, Devices       []string
		Memory, MemorySwap, PidsLimit               int64
		Ulimits                                     []struct {
			Name       string
			Soft, Hard int64
		}
		Init                                                             *bool
		IpcMode, PidMode, UTSMode, UsernsMode, CgroupnsMode, NetworkMode string
		PortBindings                                                     map[string][]struct{ HostIP, HostPort string }
	}
}

// wanted is what each service is to be, beside what is the same for all.
type wanted struct {
	uid      int
	program  string
	networks []string
	volumes  []string // those that it may write to have a * at their end
	server   bool
}

func services() map[string]wanted {
	pilot := func(uid int, volumes ...string) wanted {
		return wanted{uid, "spike", []string{"access"}, append(volumes, "workload-api"), false}
	}
	list := map[string]wanted{
		"identity":  {Identity, "identity", []string{"none"}, []string{"workload-api*"}, true},
		"nexus":     {Nexus, "nexus", []string{"access", "control", "publish"}, []string{"data*", "workload-api"}, true},
		"init":      pilot(Init),
		"superuser": pilot(Superuser, "backup*"),
		"recover":   pilot(Recover, "recovery*"),
		"restore":   pilot(Restore),
		"shop-web":  pilot(Workload),
	}
	for i := range 3 {
		list[fmt.Sprintf("keeper-%d", i+1)] = wanted{Keeper + i + 1, "keeper", []string{"control"}, []string{"workload-api"}, true}
	}
	return list
}

// settings looks at every container: what the engine was told, and what the kernel
// says of those that run.
func settings(t *testing.T, s *Stack) {
	// Compose v2 would look for a missing image in a registry first: there, the name is
	// whoever's.
	command := append(s.compose(t), "--profile", "pilot", "--profile", "sample", "config")
	config, err := s.must(t.Context(), nil, command[0], command[1:]...)
	must(t, err)
	if never := strings.Count(config, "pull_policy: never"); never != len(services()) {
		t.Errorf("%d services are kept from being pulled, and are to be %d", never, len(services()))
	}
	uids := map[string]string{}
	for service, want := range services() {
		t.Run(service, func(t *testing.T) {
			id := s.inspectable(t, service)
			var list []inspected
			must(t, json.Unmarshal([]byte(s.docker(t, "inspect", id)), &list))
			is := list[0]
			if other, taken := uids[is.Config.User]; taken {
				t.Errorf("it runs as %s, as %s does", is.Config.User, other)
			}
			uids[is.Config.User] = service
			s.hardened(t, &is, service, want)
			if want.server {
				if is.State.Health.Status != "healthy" {
					t.Errorf("it is %s", is.State.Health.Status)
				}
				held(t, is.State.Pid, want.uid)
			}
			s.oneProgram(t, is.Image, want.program)
		})
	}
	for network, want := range map[string]string{
		"control": "true ", "access": "true ", "publish": "false false",
	} {
		is := s.docker(t, "network", "inspect", "-f",
			`{{.Internal}} {{index .Options "com.docker.network.bridge.enable_ip_masquerade"}}`, s.Name(network))
		if is != strings.TrimSpace(want) {
			t.Errorf("the network %s: internal, and translated: %q, and is to be %q", network, is, want)
		}
	}
	s.published(t)

	// A program that tests start in Pilot's place is held as Pilot is: else what it cannot
	// do would say nothing.
	s.probe(t)
	id := s.docker(t, append(append([]string{"create"}, s.inside(Workload, s.Name("access"))...), s.project+"/probe")...)
	defer s.docker(t, "rm", id)
	var list []inspected
	must(t, json.Unmarshal([]byte(s.docker(t, "inspect", id)), &list))
	s.hardened(t, &list[0], "shop-web", services()["shop-web"])
}

// inspectable returns a service's container. Those that are no servers are gone when
// their work is done, so one is kept for this.
func (s *Stack) inspectable(t *testing.T, service string) string {
	t.Helper()
	if services()[service].server {
		return s.container(t, service)
	}
	name := s.project + "-kept-" + service
	s.tool(t, "run", "--no-deps", "-T", "--name", name, service, "--help")
	t.Cleanup(func() { // the test's own context has ended then
		_, err := s.Docker(context.WithoutCancel(t.Context()), "rm", name)
		must(t, err)
	})
	return name
}

func (s *Stack) hardened(t *testing.T, is *inspected, service string, want wanted) {
	t.Helper()
	h := &is.HostConfig
	var volumes []string
	for _, m := range is.Mounts {
		name := strings.TrimPrefix(m.Name, s.Name(""))
		if m.RW {
			name += "*"
		}
		volumes = append(volumes, name)
	}
	slices.Sort(volumes)
	var networks []string
	for name := range maps.Keys(is.NetworkSettings.Networks) {
		networks = append(networks, strings.TrimPrefix(name, s.Name("")))
	}
	slices.Sort(networks)
	ports := "map[]"
	if service == "nexus" {
		ports = fmt.Sprintf("map[8553/tcp:[{127.0.0.1 %d}]]", s.port)
	}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"user", is.Config.User, fmt.Sprintf("%d:%d", want.uid, want.uid)},
		{"read-only root", h.ReadonlyRootfs, true},
		{"privileged", h.Privileged, false},
		{"capabilities dropped", h.CapDrop, []string{"ALL"}},
		{"capabilities added", len(h.CapAdd), 0},
		{"devices", len(h.Devices), 0},
		{"security options", h.SecurityOpt, []string{"no-new-privileges:true"}},
		{"IPC", h.IpcMode, "none"},
		{"PID namespace of others", h.PidMode, ""},
		{"UTS namespace of others", h.UTSMode, ""},
		{"swap beyond memory", h.MemorySwap - h.Memory, 0},
		{"volumes", volumes, want.volumes},
		{"networks", networks, want.networks},
		{"ports published", h.PortBindings, ports},
		{"all ports published", h.PublishAllPorts, false},
	} {
		if fmt.Sprint(c.got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, and is to be %v", c.what, c.got, c.want)
		}
	}
	if h.Memory <= 0 || h.PidsLimit <= 0 {
		t.Errorf("the limits are %d bytes of memory and %d processes", h.Memory, h.PidsLimit)
	}
	var limits []string
	for _, u := range h.Ulimits {
		limits = append(limits, fmt.Sprintf("%s %d %d", u.Name, u.Soft, u.Hard))
	}
	slices.Sort(limits)
	if want := []string{"core 0 0", "memlock 1048576 1048576", "nofile 16384 16384"}; !slices.Equal(limits, want) {
		t.Errorf("the limits are %q, and are to be %q", limits, want)
	}
	if h.Init != nil && *h.Init {
		t.Error("a second program is put into the container")
	}
}

// held is what the kernel says of a process: whatever the engine was told, it counts.
func held(t *testing.T, pid, uid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	words := strings.Join(strings.Fields(string(status)), " ")
	for _, want := range []string{
		fmt.Sprintf("Uid: %d %d %d %d Gid: %d %d %d %d", uid, uid, uid, uid, uid, uid, uid, uid),
		"CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000 CapAmb: 0000000000000000",
		"NoNewPrivs: 1", "Seccomp: 2",
	} {
		contains(t, words, want)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	must(t, err)
	words = strings.Join(strings.Fields(string(limits)), " ")
	for _, want := range []string{
		"Max core file size 0 0 bytes", "Max locked memory 1048576 1048576 bytes", "Max open files 16384 16384 files",
	} {
		contains(t, words, want)
	}
}

// oneProgram looks into an image: one program, without rights that its owner lends,
// and no more than 20 MB.
func (s *Stack) oneProgram(t *testing.T, image, program string) {
	t.Helper()
	size, err := strconv.Atoi(s.docker(t, "image", "inspect", "-f", "{{.Size}}", image))
	must(t, err)
	if size >= 20_000_000 {
		t.Errorf("the image has %d bytes", size)
	}
	var programs []string
	s.exported(t, image, func(h *tar.Header, _ io.Reader) {
		// Empty ones are where the engine mounts files of its own.
		if h.Typeflag == tar.TypeReg && h.Size > 0 && h.Mode&0o111 != 0 {
			programs = append(programs, h.Name)
		}
		if h.Mode&0o6000 != 0 {
			t.Errorf("%s is setuid or setgid", h.Name)
		}
	})
	if !slices.Equal(programs, []string{program}) {
		t.Errorf("the image has the programs %q", programs)
	}
}

// published tries Nexus's port at every address of this machine.
func (s *Stack) published(t *testing.T) {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		if !ok || network.IP.IsLinkLocalUnicast() {
			continue
		}
		conn, err := net.Dial("tcp", net.JoinHostPort(network.IP.String(), itoa(s.port)))
		if err == nil {
			err = errors.Join(conn.Close(), errReached)
		}
		if reached := errors.Is(err, errReached); reached != network.IP.Equal(net.IPv4(127, 0, 0, 1)) {
			t.Errorf("at %s the port is reached: %v", network.IP, reached)
		}
	}
}

var errReached = errors.New("reached")
