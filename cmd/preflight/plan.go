package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

func (a *app) planCommand() *cobra.Command {
	var file, ticket string
	cmd := &cobra.Command{
		Use:   "plan -f site.yaml [--ticket CHG…]",
		Short: "begin a run: what would be added, and its way back",
		Long: `plan connects to every server of a site, inspects it, and works out the smallest firewall rules that are missing. It
changes nothing on the servers. The run's folder gets plan.json, whose SHA-256 is the digest to approve, ticket.txt to
paste into the change form, and backout/, PowerShell that takes everything back.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTicket(ticket); err != nil {
				return err
			}
			w, err := a.begin(cmd, file, ticket)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return w.do(ctx, w.planning(ctx)...)
		},
	}
	siteFlag(cmd, &file)
	cmd.Flags().StringVar(&ticket, "ticket", "", "the number of the change ticket, for the record and the rules' story")
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}

// checkTicket checks what --ticket names.
func checkTicket(text string) error {
	var wrong *site.Mistake
	if errors.As(wizard.CheckTicket(text), &wrong) {
		return usage(wrong.Hint, "--ticket: %s", wrong.Text)
	}
	return nil
}
