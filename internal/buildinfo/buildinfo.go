// Package buildinfo says which build of a program is running.
package buildinfo

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Version returns one line: the program's name, its version or commit, and the
// Go release that built it.
func Version(program string) string {
	version, goVersion := "unknown", "unknown Go"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = describe(info), info.GoVersion
	}
	return fmt.Sprintf("%s %s (%s)", program, version, goVersion)
}

func describe(info *debug.BuildInfo) string {
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if revision != "" {
		return revision + modified
	}
	return strings.Trim(info.Main.Version, "()")
}
