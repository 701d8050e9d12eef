package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
)

// siteFlag adds the flag that names the site file.
func siteFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "file", "f", "", "the site file")
}

// readSite reads the site file that -f names.
func readSite(cmd *cobra.Command, file string) (site.Site, error) {
	if file == "" {
		return site.Site{}, usage(cmd.CommandPath()+" -f site.yaml", "%s: -f is missing: which site?", cmd.CommandPath())
	}
	return loadSite(file)
}

// loadSite reads a site file.
func loadSite(file string) (site.Site, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return site.Site{}, usage("name the site file with -f", "reading the site file %s: %w", file, cause(err))
	}
	s, err := site.Parse(file, text)
	if err != nil {
		return site.Site{}, err
	}
	if _, err := ports.Lookup(s.Release); err != nil {
		problem, hint, _ := strings.Cut(err.Error(), "; ") // what there is stands after it
		return site.Site{}, site.ErrorAt(file, text, "release", hint, problem)
	}
	return s, nil
}

// cause is what went wrong with a file, without its path.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readCAs reads the certificates that a site names in files, relative to its own, before any server is dialled.
func readCAs(s site.Site, file string) (map[string]string, error) {
	cas := map[string]string{}
	for _, n := range s.Nodes {
		ca := n.WinRM.CA
		if ca == "" || n.WinRM.Pin != "" || cas[ca] != "" {
			continue
		}
		path := ca
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, usage("ca is the file of the CA certificate, as PEM, relative to the site file", "reading winrm.ca of %s, %s: %w", file, path, cause(err))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(text) {
			return nil, usage("it has to begin with -----BEGIN CERTIFICATE-----", "winrm.ca of %s, %s, holds no certificate", file, path)
		}
		cas[ca] = string(text)
	}
	return cas, nil
}

// connector reaches a site's servers over WinRM.
func (a *app) connector(ctx context.Context, s site.Site, cas map[string]string) (engine.WinRM, error) {
	passwords, err := a.passwords(ctx, s)
	if err != nil {
		return engine.WinRM{}, err
	}
	return connect(cas, func(user string) winrm.Password { return passwords[strings.ToLower(user)] }), nil
}

// connect reaches servers with the CA certificates that their site names.
func connect(cas map[string]string, password func(user string) winrm.Password) engine.WinRM {
	return engine.WinRM{
		Roots: func(ca string) (*x509.CertPool, error) {
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM([]byte(cas[ca])) {
				return nil, fmt.Errorf("the run holds no certificate called %s", ca)
			}
			return roots, nil
		},
		Password: password,
	}
}
