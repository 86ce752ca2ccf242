package process

import (
	"errors"
	"fmt"
	"io"

	"github.com/spiffe/spike/internal/buildinfo"
)

// ErrUsage is a command line that is not understood.
var ErrUsage = errors.New("see --help")

// The commands of a server. Run is what it does without one.
const (
	Run    = "run"
	Health = "health"
)

// Command reads the command line of a server: one of the commands, or "" when
// there is nothing left to do, since the help or the version was all that was
// asked for.
func Command(program, usage string, args []string, stdout io.Writer) (string, error) {
	if len(args) == 0 {
		return Run, nil
	}
	if len(args) > 1 {
		return "", fmt.Errorf("%q is one argument too many: %w", args[1], ErrUsage)
	}
	switch args[0] {
	case Run, Health:
		return args[0], nil
	case "-v", "--version", "version":
		_, err := fmt.Fprintln(stdout, buildinfo.Version(program))
		return "", err
	case "-h", "--help", "help":
		_, err := io.WriteString(stdout, usage)
		return "", err
	}
	return "", fmt.Errorf("%q is not a command: %w", args[0], ErrUsage)
}

// ExitCode is what a server's process ends with: 2 for a command line that is not
// understood, else 1.
func ExitCode(err error) int {
	if errors.Is(err, ErrUsage) {
		return 2
	}
	return 1
}
