package main

import (
	"context"
	"os"
	"time"

	"github.com/spiffe/spike/app/pilot/internal/cli"
	"github.com/spiffe/spike/internal/buildinfo"
)

func run(ctx context.Context, args []string, completionTime time.Duration) error {
	root := cli.New(cli.Deps{
		Version:        buildinfo.Version("spike"),
		In:             os.Stdin,
		Out:            os.Stdout,
		Err:            os.Stderr,
		Config:         loadConfig,
		RecoveryDir:    loadRecoveryDir,
		CompletionTime: completionTime,
	})
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
