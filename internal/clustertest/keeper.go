package clustertest

import (
	"fmt"
	"path/filepath"

	"github.com/spiffe/spike/internal/role"
)

// AddKeeper describes one more Keeper, to which no share belongs, and returns its
// number. It starts when it is told to.
func (c *Cluster) AddKeeper() (int, error) {
	ports, err := takePorts(1)
	if err != nil {
		return 0, err
	}
	c.ports = append(c.ports, ports...)
	number := len(c.keepers) + 1
	name := fmt.Sprintf("keeper-%d", number)
	c.keepers = append(c.keepers, &Process{
		name: name, path: c.program("keeper"), log: filepath.Join(c.dir, "log", name+".log"),
		env: c.env(role.Keeper, "SPIKE_SYSTEM_LOG_LEVEL=INFO", "SPIKE_KEEPER_TLS_PORT="+ports[0].address()),
	})
	return number, nil
}
