package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/script"
)

// sent is a script as JSON.
type sent struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Does   string `json:"does"`
	Text   string `json:"text,omitempty"`
}

func (a *app) scriptsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "scripts [NAME]", Short: "every script that is ever sent to a server, with its SHA-256",
		Long: `scripts lists the PowerShell scripts that preflight sends to servers, for the people who have to allow them; with a
name it prints that one's text. They are always the same: what they are to work on follows as data.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return oneArgument("NAME")(cmd, args)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			ops := append([]script.Op{script.ProbeOp}, script.Ops...)
			if len(args) == 1 {
				i := slices.IndexFunc(ops, func(op script.Op) bool { return op.Name == args[0] })
				if i < 0 {
					var names []string
					for _, op := range ops {
						names = append(names, op.Name)
					}
					return usage("the scripts are "+strings.Join(names, ", "), "there is no script %q", args[0])
				}
				op := ops[i]
				return a.show(op.Text, sent{op.Name, op.SHA256(), op.Does, op.Text})
			}
			var b strings.Builder
			var all []sent
			w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
			for _, op := range ops {
				fmt.Fprintf(w, "%s\t%s\t%s\n", op.Name, op.SHA256(), op.Does)
				all = append(all, sent{Name: op.Name, SHA256: op.SHA256(), Does: op.Does})
			}
			w.Flush()
			fmt.Fprintf(&b, "\nThe probe is this command line:\n%s\nEach other is run by this one, which reads it from standard input:\n%s\n", script.ProbeCommand, script.Command)
			return a.show(b.String(), struct {
				Scripts []sent `json:"scripts"`
				Command string `json:"command"` // runs each
				Probe   string `json:"probe"`   // runs before the first
			}{all, script.Command, script.ProbeCommand})
		},
	}
}
