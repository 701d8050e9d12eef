package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// loopback are times for servers on this machine: nothing there is as slow as a WAN, or as Windows with a refusal.
var loopback = engine.Times{Dial: 2 * time.Second, Hold: 500 * time.Millisecond, Margin: time.Second, Poll: 20 * time.Millisecond, Join: 20 * time.Second}

func (a *app) demoCommand() *cobra.Command {
	var o lab.Options
	var f face
	var headless bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "the whole journey on simulated servers; touches nothing real",
		Long: `demo starts a simulated site on this machine, a central node and rim nodes that answer real WinRM on loopback, and
takes the rim through the journey: connect, inspect, plan, apply, prove, join, and prove once more by the real services.
On a terminal the wizard leads through it. With --headless, or without a terminal, nothing is asked: what happens goes to
standard error, the result to standard output. The record goes into a folder of its own below --runs.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			l, err := startLab(o)
			if err != nil {
				return err
			}
			defer l.Close()
			if headless || a.noInput || !a.terminal() && !f.accessible {
				return a.demo(cmd.Context(), l)
			}
			s, err := siteOf(l)
			if err != nil {
				return err
			}
			g := &guide{app: a, lab: l}
			return g.lead(cmd.Context(), wizard.Setup{Candidates: []wizard.Candidate{labCandidate(s)}}, f)
		},
	}
	cmd.Flags().BoolVar(&headless, "headless", false, "ask nothing, draw nothing")
	f.flags(cmd)
	scenarioFlag(cmd, &o)
	a.runsFlag(cmd)
	return cmd
}

// demo takes a simulated site through everything, without a question.
func (a *app) demo(ctx context.Context, l *lab.Lab) error {
	s, err := siteOf(l)
	if err != nil {
		return err
	}
	var by engine.Joining
	cert, key, root := l.QRSCertificate()
	if by.QRS, by.Certificate, err = qrs(s, cert, key, root, time.Now()); err != nil {
		return err
	}
	w, err := a.start(s, inLab(l), "demo", "", record.RunStarted{})
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
