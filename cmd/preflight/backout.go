package main

import (
	"errors"

	"github.com/spf13/cobra"
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
				return errors.Join(usage("--confirm-outage "+r.Site.Name, "--confirm-outage %q is not the name of this run's site", confirm), j.Close())
			}
			ctx := cmd.Context()
			if r.InPlace() == 0 { // no server is needed to say so
				w, err := a.resume(j, r, nil, cmd.Name())
				if err != nil {
					return err
				}
				return w.do(ctx)
			}
			w, err := a.goOn(cmd, j, r)
			if err != nil {
				return err
			}
			w.confirmed = confirm != ""
			return w.do(ctx, w.backingOut(ctx)...)
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm-outage", "", "the site's name: a running rim may be cut off")
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}
