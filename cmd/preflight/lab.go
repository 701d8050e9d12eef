package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/site"
)

// scenarioFlag adds the flag that chooses what is wrong with a simulated site.
func scenarioFlag(cmd *cobra.Command, o *lab.Options) {
	cmd.Flags().StringVar(&o.Scenario, "scenario", "clean", "what to simulate; --help lists them")
	var b strings.Builder
	for _, s := range lab.Scenarios {
		fmt.Fprintf(&b, "\n  %-19s%s", s.Name, s.Does)
	}
	cmd.Long += "\n\nScenarios:" + b.String()
}

// startLab starts a simulated site.
func startLab(o lab.Options) (*lab.Lab, error) {
	l, err := lab.Start(o)
	var unknown lab.OptionError
	if errors.As(err, &unknown) {
		return nil, usageError{error: err}
	}
	return l, err
}

func (a *app) labCommand() *cobra.Command {
	var o lab.Options
	var dir string
	cmd := &cobra.Command{
		Use:   "lab --write DIR",
		Short: "keep a simulated site running, for the other commands to work on",
		Long: `lab runs a simulated site on this machine until it is interrupted: a central node and rim nodes that answer real WinRM
on loopback. It writes a site file, the certificate of its CA, a password file and the site's client certificate into
DIR. The other commands work on it from another terminal. There is no QMC: a join there is with that certificate.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usage("preflight lab --write lab", "--write is missing: where should the site file go?")
			}
			var err error
			if o.Release, err = releaseFlag(o.Release); err != nil {
				return err
			}
			if cmd.Flags().Changed("rims") && o.Rims == 0 {
				return usage("write at least 1, or leave it out", "--rims 0: a lab has at least one rim node")
			}
			l, err := startLab(o)
			if err != nil {
				return err
			}
			defer l.Close()
			files, err := l.Write(dir)
			var taken lab.OptionError
			if errors.As(err, &taken) {
				return usage("name another folder with --write", "%w", err)
			}
			if err != nil {
				return usage("name a folder that can be made and written", "--write %s: %w", dir, cause(err))
			}
			s, err := siteOf(l)
			if err != nil {
				return err
			}
			err = a.show(labText(files, s), struct {
				Site     string `json:"site_file"`
				CA       string `json:"ca_file"`
				Password string `json:"password_file"`
				QRSCert  string `json:"qrs_cert_file"`
				QRSKey   string `json:"qrs_key_file"`
				Scenario string `json:"scenario"`
				Release  string `json:"release"`
			}{files.Site, files.CA, files.Password, files.QRSCert, files.QRSKey, o.Scenario, o.Release})
			if err != nil {
				return err
			}
			if err := a.result.close(); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Rims, "rims", 0, "number of rim nodes (default: 1, or what the scenario needs)")
	cmd.Flags().StringVar(&o.Release, "release", lab.Release, "the release of Qlik Sense that is simulated, as may-2021")
	cmd.Flags().StringVar(&dir, "write", "", "the folder for the site file; it is made if it is missing")
	scenarioFlag(cmd, &o)
	return cmd
}

// labText says what to type for a lab that runs.
func labText(f lab.Files, s site.Site) string {
	text := fmt.Sprintf(`A simulated site runs on this machine; it touches nothing real. ctrl+c ends it.
In another terminal:

  export %s=%s
  preflight check -f %s

(on Windows: $env:%[1]s = '%[4]s')
Once a plan is applied, a rim is joined with:

`, passwordFile, printable.Argument(f.Password), printable.Argument(f.Site), f.Password)
	for _, rim := range s.Rims() {
		text += "  preflight join last" + qrsFlags{auth: "certificate", cert: f.QRSCert, key: f.QRSKey}.typed(rim.Name) + "\n"
	}
	return text
}
