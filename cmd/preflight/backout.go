package main

import (
	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
)

func (a *app) backoutCommand() *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use:   "backout RUN",
		Short: "take back exactly what a run added",
		Long: `backout removes the rules that a run added, the last first, and only those that are still exactly as they were left.
No other rule is touched. RUN is a folder, its name below --runs, or last. Where a rim runs that the rules are for, it
asks for --confirm-outage with the site's name. Run again after a failure, it takes back what is still there.`,
		Args: oneArgument("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			if confirm != "" && confirm != r.Site.Name {
				j.Close()
				return usage("--confirm-outage "+r.Site.Name, "--confirm-outage %q is not the name of this run's site", confirm)
			}
			var c engine.WinRM
			todo := inPlace(r)
			if todo > 0 {
				if c, err = a.connector(cmd, r.Site, r.Run.SiteFile); err != nil {
					j.Close()
					return err
				}
			}
			w, err := a.resume(j, r, c, "backout")
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if todo == 0 {
				return w.do(ctx)
			}
			return w.do(ctx,
				func() error { return onward(w.ConnectAll(ctx)) },
				func() error { return onward(w.Inspect(ctx)) },
				func() error { return w.BackOut(ctx, confirm != "") },
			)
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm-outage", "", "the site's name: a running rim may be cut off")
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}
