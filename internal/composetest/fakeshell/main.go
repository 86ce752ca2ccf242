// Command fakeshell stands in for the shell of an image with Go in it, where none can be
// fetched: it is asked to build the programs, and puts in place what was built before. It
// is for tests.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fakeshell:", err)
		os.Exit(1)
	}
}
