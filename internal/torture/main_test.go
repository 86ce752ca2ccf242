package torture

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/spiffe/spike/internal/clustertest"
)

var (
	kills    = flag.Int("kills", 20, "how often TestKills kills Nexus")
	outages  = flag.Int("outages", 10, "how often TestPowerLoss cuts the power")
	crashes  = flag.Int("crashes", 3, "how often TestFailpoints ends Nexus at each place")
	programs string // the folder of the programs, built with their failpoints
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if programs = os.Getenv(programsVariable); programs != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "spike-torture-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		programs = filepath.Join(dir, "bin")
		err = clustertest.Build(context.Background(), programs, "failpoint")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
