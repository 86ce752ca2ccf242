// Package completion has the scripts by which shells complete the commands of spike.
// They ask spike itself, as "spike __complete", what there is; how their shell reads
// what is typed, and how it must be quoted, is all that they know.
package completion

import "embed"

//go:embed spike.bash spike.fish spike.zsh
var scripts embed.FS

// Script returns the script for bash, fish or zsh.
func Script(shell string) ([]byte, error) { return scripts.ReadFile("spike." + shell) }
