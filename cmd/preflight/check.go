package main

import (
	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/proof"
)

func (a *app) checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -f site.yaml",
		Short: "look at a site; changes nothing",
		Long: `check connects to every server of a site, inspects it, and dials what listens there from the other nodes. It opens
nothing and changes nothing on the servers. What it saw goes into a record of its own below --runs.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.begin(cmd, file, "")
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return w.do(ctx,
				func() error { return onward(w.ConnectAll(ctx)) },
				func() error { return onward(w.Inspect(ctx)) },
				w.Compare,
				func() error { return w.Prove(ctx, proof.Baseline, false) },
			)
		},
	}
	siteFlag(cmd, &file)
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}
