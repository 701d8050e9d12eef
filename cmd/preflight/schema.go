package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

func (a *app) schemaCommand() *cobra.Command {
	const schemas = "the schemas are site and report"
	return &cobra.Command{
		Use: "schema site|report", Short: "the JSON Schema of the site file, or of the record",
		Long: `schema prints a JSON Schema: site is that of the site file, for an editor or a pipeline that checks it; report that of
record.json, for a program that reads it. An editor with the YAML language server finds the first in a file:

  preflight schema site --out site.schema.json

and, as the first line of the site file beside it:

  # yaml-language-server: $schema=site.schema.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usage(schemas, "%s: which schema?", cmd.CommandPath())
			case len(args) > 1:
				return usage(schemas, "%s: unexpected argument %q", cmd.CommandPath(), args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var text string
			switch args[0] {
			case "site":
				text = site.Schema()
			case "report":
				text = reports.Schema()
			default:
				return usage(schemas, "there is no schema %q", args[0])
			}
			return a.show(text, json.RawMessage(text))
		},
	}
}
