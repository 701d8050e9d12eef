package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/checks"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain CHECK", Short: "what a check looks at, and what to do about it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("the checks are "+strings.Join(ids(), ", "), "%s takes the name of one check", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			page, err := checks.Page(args[0])
			if err != nil {
				return usage("the checks are "+strings.Join(ids(), ", "), "%w", err)
			}
			return a.show(folded(page), struct {
				Check string `json:"check"`
				Page  string `json:"page"` // Markdown
			}{args[0], page})
		},
	}
}

// ids are the names of all checks.
func ids() []string {
	var ids []string
	for _, c := range checks.Catalogue {
		ids = append(ids, c.ID)
	}
	return ids
}
