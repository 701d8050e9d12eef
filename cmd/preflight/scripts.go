package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/script"
)

func scriptsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "scripts [NAME]", Short: "every script that is ever sent to a server, with its SHA-256",
		Long: `scripts lists the PowerShell scripts that preflight sends to servers, for the people who have to allow them; with a
name it prints that one's text. They are always the same: what they are to work on follows as data.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				i := slices.IndexFunc(script.Ops, func(op script.Op) bool { return op.Name == args[0] })
				if i < 0 {
					return usageError{fmt.Errorf("there is no script %q; there are %s", args[0], strings.Join(scriptNames(), ", "))}
				}
				_, err := fmt.Fprint(out, script.Ops[i].Text)
				return err
			}
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			for _, op := range script.Ops {
				fmt.Fprintf(w, "%s\t%s\t%s\n", op.Name, op.SHA256(), op.Does)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			_, err := fmt.Fprintf(out, "\nEach is run by this command line, which reads it from standard input:\n%s\nBefore the first, this one finds the language mode:\n%s\n", script.Command, script.ProbeCommand)
			return err
		},
	}
}

func scriptNames() []string {
	var names []string
	for _, op := range script.Ops {
		names = append(names, op.Name)
	}
	return names
}
