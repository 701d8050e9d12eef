package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
)

func (a *app) applyCommand() *cobra.Command {
	var digest string
	cmd := &cobra.Command{
		Use:   "apply RUN --approve DIGEST",
		Short: "add the rules of an approved plan, and prove them",
		Long: `apply looks at the servers again, proves what works before, adds the rules of the run's plan, and proves every flow
after. RUN is a folder, its name below --runs, or last. DIGEST is what the approved ticket quotes: the SHA-256 of
plan.json, or at least its first 12 characters. If the servers now need anything that the plan does not hold, nothing
is added. Run again after a failure, it adds only what is still missing.`,
		Args: oneArgument("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			if err := approve(args[0], j.Dir(), r, digest); err != nil {
				return errors.Join(err, j.Close())
			}
			w, err := a.goOn(cmd, j, r)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return w.do(ctx, w.applying(ctx, "digest", strings.ToLower(digest))...)
		},
	}
	cmd.Flags().StringVar(&digest, "approve", "", "the digest of the approved plan, or its first 12 characters or more")
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}

// approve tells whether a digest is that of a run's plan, and the plan's file still what was planned. asked is how the run
// was named. No hint says the digest: it comes from whoever approved the plan.
func approve(asked, dir string, r record.Record, digest string) error {
	run := r.Run.ID
	if asked == "last" {
		run += " (last)"
	}
	stands := "in ticket.txt: preflight report " + printable.Argument(nameOf(dir)) + " -o ticket"
	digest = strings.ToLower(digest)
	switch {
	case r.Change.PlanSHA256 == "":
		return usage("preflight plan -f "+printable.Argument(r.Run.SiteFile), "the run %s has no plan", r.Run.ID)
	case digest == "":
		return usage("write --approve and the digest that the approved ticket quotes; that of this run stands "+stands, "--approve is missing for %s", run)
	case len(digest) < 12 || len(digest) > 64 || strings.Trim(digest, "0123456789abcdef") != "":
		return usage("write the digest that the approved ticket quotes; that of this run stands "+stands, "--approve %q is not a digest: 12 to 64 characters of 0-9 and a-f", digest)
	case !strings.HasPrefix(r.Change.PlanSHA256, digest):
		return usage("name the run that was approved, or have this one approved: its digest stands "+stands,
			"--approve %s is not the digest of the plan of %s", digest, run)
	}
	text, err := os.ReadFile(filepath.Join(dir, engine.PlanFile))
	if err != nil {
		return usage("plan again: preflight plan -f "+printable.Argument(r.Run.SiteFile), "reading the approved plan: %w", cause(err))
	}
	again := "plan again: preflight plan -f " + printable.Argument(r.Run.SiteFile)
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != r.Change.PlanSHA256 {
		return usage(again, "%s was changed after it was planned", filepath.Join(dir, engine.PlanFile))
	}
	// What is applied comes from the journal: it has to be what the file says.
	if journalled, err := engine.PlanText(r.Site, r.Plan.Changes); err != nil || !bytes.Equal(journalled, text) {
		return usage(again, "the journal of %s was changed after it was planned, or an older preflight planned it", dir)
	}
	return nil
}
