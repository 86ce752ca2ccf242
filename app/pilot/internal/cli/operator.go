package cli

import (
	"github.com/spf13/cobra"
)

// operator has what is done to a cluster, by people with a role for each, and
// secret what is done with it.
func (a *app) operator() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "operator COMMAND",
		Short: "Initialize, look after and bring back a cluster",
	})
	cmd.AddCommand(a.operatorInit(), a.operatorStatus(), a.operatorRecover(), a.operatorRestore(),
		a.operatorBackup(), a.operatorAccept(), a.operatorKeeper())
	return cmd
}
