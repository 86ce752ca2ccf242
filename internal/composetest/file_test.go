package composetest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spiffe/spike/internal/clustertest"
)

func lines(t *testing.T, name string) []string {
	t.Helper()
	root, err := clustertest.Root()
	must(t, err)
	content, err := os.ReadFile(filepath.Join(root, name))
	must(t, err)
	var list []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			list = append(list, line)
		}
	}
	return list
}

// TestOldTools keeps out what docker-compose 1.29 and the engine's classic builder do
// not know. On this machine there may be newer ones.
func TestOldTools(t *testing.T) {
	t.Parallel()
	newer := regexp.MustCompile(`^(name|include|version|configs|secrets|models):|dockerfile_inline|start_interval|develop:|required:|!reset|!override`)
	for _, line := range lines(t, "docker-compose.yaml") {
		if newer.MatchString(line) {
			t.Errorf("docker-compose.yaml: %s", line)
		}
	}
	newer = regexp.MustCompile(`^RUN|^HEALTHCHECK|--chmod|--link|--mount|<<`)
	for _, program := range images() {
		for _, line := range lines(t, "config/image/"+program+".Dockerfile") {
			if newer.MatchString(line) {
				t.Errorf("%s.Dockerfile: %s", program, line)
			}
		}
	}
}

func images() []string { return []string{"identity", "nexus", "keeper", "spike"} }

// TestMultiStage compares what both ways of building make of each image.
func TestMultiStage(t *testing.T) {
	t.Parallel()
	_, stages, _ := strings.Cut(strings.Join(lines(t, "config/image/multi-stage.Dockerfile"), "\n"), "\nFROM scratch AS ")
	all := strings.Split(stages, "\nFROM scratch AS ")
	if len(all) != len(images()) {
		t.Fatalf("it has %d stages", len(all))
	}
	for i, program := range images() {
		name, stage, _ := strings.Cut(all[i], "\n")
		if name != program {
			t.Errorf("stage %d is %s, not %s", i+1, name, program)
		}
		stage = "FROM scratch\n" + strings.NewReplacer("--from=build ", "", "/src/bin/image/"+program+"/", "").Replace(stage)
		if single := strings.Join(lines(t, "config/image/"+program+".Dockerfile"), "\n"); stage != single {
			t.Errorf("%s is\n%s\nin one, and in the other\n%s", program, single, stage)
		}
	}
}
