// Command reference writes Pilot's reference, Markdown and man pages, from the
// commands themselves. It is a program of its own so that what renders the pages
// is no part of spike. In app/pilot: go generate
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}
