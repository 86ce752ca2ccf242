package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) operator() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "operator COMMAND",
		Short: "Initialize, look after and bring back a cluster",
	})
	cmd.AddCommand(a.operatorInit(), a.operatorStatus(), a.operatorRecover(), a.operatorRestore(),
		a.operatorBackup(), a.operatorAccept())
	return cmd
}
