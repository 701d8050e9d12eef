package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
)

// loopback are times for servers on this machine: nothing there is as slow as a WAN, or as Windows with a refusal.
var loopback = engine.Times{Dial: 2 * time.Second, Hold: 500 * time.Millisecond, Margin: time.Second, Poll: 20 * time.Millisecond, Join: 20 * time.Second}

func (a *app) demoCommand() *cobra.Command {
	var o lab.Options
	var headless bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "the whole journey on simulated servers; touches nothing real",
		Long: `demo starts a simulated site on this machine, a central node and rim nodes that answer real WinRM on loopback, and
takes the rim through the journey: connect, inspect, plan, apply, prove, join, and prove once more by the real services.
What it does goes to standard error as it
happens, the result to standard output, and the record into a folder of its own below --runs.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&headless, "headless", false, "ask nothing; so far the only way it runs")
	scenarioFlag(cmd, &o)
	a.runsFlag(cmd)
	return cmd
}

func (a *app) demo(ctx context.Context, o lab.Options) error {
	l, err := startLab(o)
	if err != nil {
		return err
	}
	defer l.Close()
	text, err := l.SiteFile()
	if err != nil {
		return err
	}
	s, err := site.Parse("lab.yaml", text)
	if err != nil {
		return err
	}
	var by engine.Joining
	cert, key, root := l.QRSCertificate()
	if by.QRS, by.Certificate, err = qrs(s, cert, key, root, time.Now()); err != nil {
		return err
	}
	w, err := a.start(s, engine.WinRM{
		Roots: func(string) (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(l.CA())
			return pool, nil
		},
		Password: func(string) winrm.Password { return winrm.Password(l.Password()) },
	}, "demo", "", record.RunStarted{})
	if err != nil {
		return err
	}
	if times == nil {
		w.Times = loopback
	}
	return w.do(ctx,
		func() error { return w.ConnectAll(ctx) },
		func() error { return w.Inspect(ctx) },
		func() error { return w.Prove(ctx, proof.Baseline, false) },
		w.Plan,
		func() error { return w.Apply(ctx, "demo", fmt.Sprintf("%.12s", w.Record().Change.PlanSHA256)) },
		func() error { return w.Prove(ctx, proof.AfterApply, true) },
		func() error {
			for _, rim := range w.ToJoin() {
				if err := w.Join(ctx, rim, by); err != nil {
					return err
				}
			}
			return nil
		},
		func() error { return w.Inspect(ctx) },
		func() error { return w.Prove(ctx, proof.CloseOut, false) },
	)
}
