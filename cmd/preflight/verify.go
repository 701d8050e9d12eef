package main

import (
	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/site"
)

func (a *app) verifyCommand() *cobra.Command {
	var file string
	var listen bool
	cmd := &cobra.Command{
		Use:   "verify RUN | -f site.yaml",
		Short: "prove every flow again; changes nothing",
		Long: `verify dials every flow of a run, or of a site, and says what is different from the run's proofs before: new failures,
what was fixed, what fails for another cause. RUN is a folder, its name below --runs, or last. Where nothing listens
yet a flow is not tested, unless --listen or the site file's proof.listen allows preflight to listen there itself for
a few seconds.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (file == "") {
				return usage("preflight verify last", "%s: name either RUN or a site file with -f", cmd.CommandPath())
			}
			if len(args) > 1 {
				return oneArgument("RUN")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.verifier(cmd, file, args)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return w.do(ctx, w.verifying(ctx, listen)...)
		},
	}
	siteFlag(cmd, &file)
	cmd.Flags().BoolVar(&listen, "listen", false, "listen for a few seconds on ports that nobody uses yet")
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}

func mayListen(s site.Site) bool { return s.Proof.Listen != nil && *s.Proof.Listen }

// verifier begins a verify, of a site file or of a run.
func (a *app) verifier(cmd *cobra.Command, file string, args []string) (*session, error) {
	if file != "" {
		return a.begin(cmd, file, "")
	}
	j, r, err := a.open(args[0])
	if err != nil {
		return nil, err
	}
	return a.goOn(cmd, j, r)
}
