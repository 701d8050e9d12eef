package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/reports"
)

func (a *app) reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report RUN -o text|json|jsonl|ticket",
		Short: "show a run again: its result, its record, its events, its ticket",
		Long: `report renders what a run has recorded; it talks to no server. RUN is a folder, its name below --runs, or last, which
here may also be a check. json is the record, jsonl the events of its journal, ticket the text for the change form.`,
		Annotations: map[string]string{formats: "text json jsonl ticket"},
		Args:        oneArgument("RUN"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.find(args[0], true)
			if err != nil {
				return err
			}
			r, err := record.Replay(dir)
			switch {
			case errors.Is(err, record.ErrNoRun):
				return usage("name a folder below "+a.runs, "%w", err)
			case errors.Is(err, record.ErrNewer):
				return usage("use the preflight that wrote it, or a newer one", "%w", err)
			}
			if err != nil {
				return err
			}
			b, err := a.render(dir, r)
			if err != nil {
				return err
			}
			_, err = a.result.Write(b)
			return err
		},
	}
	a.runsFlag(cmd)
	return cmd
}

// render is a run in the format that was asked for.
func (a *app) render(dir string, r record.Record) ([]byte, error) {
	switch a.format {
	case "json":
		return reports.JSON(r)
	case "jsonl":
		return record.Events(dir)
	case "ticket":
		if r.Change.PlanSHA256 == "" {
			return nil, usage("preflight plan -f "+printable.Argument(r.Run.SiteFile)+" makes one", "%s has no plan, and so no ticket", r.Run.ID)
		}
		sum := ""
		// After a crash the file is not the record any more, and its digest would prove nothing.
		b, err := reports.JSON(r)
		if file, missing := os.ReadFile(filepath.Join(dir, "record.json")); err == nil && missing == nil && bytes.Equal(file, b) {
			sum = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		return reports.Ticket(r, sum), nil
	}
	return reports.Text(r, reports.Options{Verbose: a.verbose}), nil
}
