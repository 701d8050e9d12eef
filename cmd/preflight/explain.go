package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/checks"
)

func explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain CHECK", Short: "what a check looks at, and what to do about it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes one check: %s", cmd.CommandPath(), strings.Join(ids(), ", "))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			page, err := checks.Page(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%w; there are %s", err, strings.Join(ids(), ", "))}
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), page)
			return err
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
