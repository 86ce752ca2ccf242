package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/clustertest"
	"github.com/spiffe/spike/internal/role"
)

// TestGuideProgram builds the program that docs/guide/web-service.md shows and runs
// it as the service of the guide: it has nothing of ours but the identity that it
// is given.
func TestGuideProgram(t *testing.T) {
	t.Parallel()
	root, err := clustertest.Root()
	must(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "guide", "web-service.md"))
	must(t, err)
	source := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(page)
	if source == nil {
		t.Fatal("the guide shows no program")
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "main.go"), source[1], 0o600))
	web := filepath.Join(dir, "web")
	// Files that are named are built as a part of this module, with what it requires.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", web, filepath.Join(dir, "main.go"))
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c := clustertest.Start(t, clustertest.Options{
		Programs: programs, Entries: fmt.Sprintf("  - id: /ns/shop/sa/web\n    path: %q\n", web),
	})
	must(t, (&world{}).initialize(t.Context(), c))
	n, err := c.Client(t.Context(), role.Superuser)
	must(t, err)
	_, err = n.SecretPut(t.Context(), api.SecretPutRequest{Path: "shop/db", Values: api.Values{"password": "correct horse"}})
	must(t, err)
	run := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), web)
		cmd.Env = []string{"SPIFFE_ENDPOINT_SOCKET=" + c.Socket(), "SPIKE_NEXUS_API_URL=" + c.URL().String()}
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	if output, err := run(); err == nil || !strings.Contains(output, "access_unauthorized") {
		t.Errorf("without a policy: %v, %s", err, output)
	}
	err = n.PolicyPut(t.Context(), api.PolicyPutRequest{
		Name: "shop-web", SPIFFEIDPattern: `^spiffe://spike\.ist/ns/shop/sa/web$`, PathPattern: `^shop/.*$`, Permissions: []string{"read"},
	})
	must(t, err)
	if output, err := run(); err != nil || output != "correct horse\n" {
		t.Errorf("with the policy: %v, %s", err, output)
	}
}
