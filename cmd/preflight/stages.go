package main

import (
	"cmp"
	"context"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/proof"
)

// What the commands do on a run, stage by stage; the wizard does the same.

func (w *session) planning(ctx context.Context) []func() error {
	return []func() error{
		func() error { return w.ConnectAll(ctx) },
		func() error { return w.Inspect(ctx) },
		w.Plan,
	}
}

// applying adds what a plan wants. how and value are how it was approved.
func (w *session) applying(ctx context.Context, how, value string) []func() error {
	rec := w.Record()
	again := rec.InPlace() > 0
	return []func() error{
		func() error { return w.ConnectAll(ctx) },
		func() error { return w.Inspect(ctx) },
		func() error {
			if again {
				return nil // the proofs of before are those of the first time
			}
			return w.Prove(ctx, proof.Baseline, false)
		},
		func() error { return w.Apply(ctx, how, value) },
		func() error { return w.Prove(ctx, proof.AfterApply, true) },
	}
}

func (w *session) verifying(ctx context.Context, listen bool) []func() error {
	return []func() error{
		func() error { return onward(w.ConnectAll(ctx)) },
		func() error { return onward(w.Inspect(ctx)) },
		func() error { return w.Prove(ctx, proof.Verify, listen || mayListen(w.Site)) },
	}
}

func (w *session) joining(ctx context.Context, rim string, by engine.Joining) []func() error {
	return []func() error{
		func() error { return w.ConnectAll(ctx) },
		func() error { return w.Inspect(ctx) },
		func() error { return w.ProveServices(ctx, proof.Verify, rim) },
		func() error {
			broke := w.Join(ctx, rim, by)
			if broke != nil && !w.CameToRun(rim) {
				return broke
			}
			if err := w.Inspect(ctx); err != nil {
				return cmp.Or(broke, err)
			}
			proven := w.ProveServer(ctx, proof.CloseOut, rim)
			return cmp.Or(broke, proven)
		},
	}
}

func (w *session) backingOut(ctx context.Context) []func() error {
	return []func() error{
		func() error { return onward(w.ConnectAll(ctx)) },
		func() error { return onward(w.Inspect(ctx)) },
		func() error { return w.BackOut(ctx, w.confirmed) },
	}
}
