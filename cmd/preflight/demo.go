package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
	"github.com/qlik-preflight/preflight/reports"
)

func demoCommand() *cobra.Command {
	var runs string
	var headless bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "the whole journey on simulated servers; touches nothing real",
		Long: `demo starts a simulated site on this machine, a central node and one rim node that answer real WinRM on loopback,
and takes the rim through the journey: connect, inspect, plan, apply, prove. What it does goes to standard error
as it happens, the result to standard output, and the record into a folder of its own below --runs.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), runs, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&runs, "runs", "preflight-runs", "folder of runs")
	cmd.Flags().BoolVar(&headless, "headless", false, "ask nothing; so far the only way it runs")
	return cmd
}

func demo(ctx context.Context, runs string, stdout, stderr io.Writer) (err error) {
	l, err := lab.Start(1)
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
	j, id, err := newRun(runs, s.Name, time.Now())
	if err != nil {
		return usageError{err}
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	connect := engine.WinRM{
		Roots: func(string) (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(l.CA())
			return pool, nil
		},
		Password: func(string) winrm.Password { return winrm.Password(l.Password()) },
	}
	show := newProgress(stderr)
	e, err := engine.New(s, connect, j, func(ev record.Event) error {
		if err := j.Append(ev); err != nil {
			return err
		}
		show.add(reports.Line(ev))
		return nil
	})
	if err != nil {
		return err
	}
	broke := e.Start(id, tool(), "demo", operator(), "")
	if broke == nil {
		broke = journey(ctx, e)
	}
	ended := e.End(broke)
	show.end()
	return finish(e.Record(), j, errors.Join(broke, ended), stdout, stderr)
}

// journey takes a site through the stages.
func journey(ctx context.Context, e *engine.Engine) error {
	stages := []func() error{
		func() error { return e.ConnectAll(ctx) },
		func() error { return e.Inspect(ctx) },
		func() error { return e.Prove(ctx, proof.Baseline, false) },
		e.Plan,
		func() error { return e.Apply(ctx, "demo", fmt.Sprintf("%.12s", e.Record().Change.PlanSHA256)) },
		func() error { return e.Prove(ctx, proof.AfterApply, true) },
	}
	for _, stage := range stages {
		if err := stage(); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the record and the result, and ends with the run's exit code. broke is why the run broke off, if it did.
// What cannot be written any more is said, and does not keep the rest from being shown: the way back above all.
func finish(r record.Record, j *record.Journal, broke error, stdout, stderr io.Writer) error {
	b, err := reports.JSON(r)
	if err == nil {
		err = j.WriteFile("record.json", b)
	}
	stdout.Write(reports.Text(r))
	if err == nil {
		fmt.Fprintf(stdout, "record  %s\nsha256  %x\n", filepath.Join(j.Dir(), "record.json"), sha256.Sum256(b))
	}
	if r.BackOut != nil {
		fmt.Fprintf(stdout, "undo    %s\n", filepath.Join(j.Dir(), "backout"))
	}
	for _, e := range []error{broke, err} {
		if e != nil {
			fmt.Fprintf(stderr, "error: %s\n", printable.Line(e.Error()))
		}
	}
	switch code := r.Verdict.ExitCode; {
	case code != record.ExitPassed:
		return exit(code)
	case err != nil:
		return exit(record.ExitInternal)
	}
	return nil
}

// progress writes lines without ever keeping the one who adds them waiting: a terminal may stand still while somebody
// marks text in it.
type progress struct {
	lines chan string
	done  chan struct{}
}

func newProgress(w io.Writer) progress {
	p := progress{make(chan string, 10_000), make(chan struct{})}
	go func() {
		defer close(p.done)
		for line := range p.lines {
			fmt.Fprintln(w, line)
		}
	}()
	return p
}

// add queues a line; if nobody has read ten thousand of them, one more is no loss.
func (p progress) add(line string) {
	if line == "" {
		return
	}
	select {
	case p.lines <- line:
	default:
	}
}

// end waits until what was added is written.
func (p progress) end() {
	close(p.lines)
	<-p.done
}

// newRun makes the folder of a new run, named after its site and the time.
func newRun(runs, site string, now time.Time) (*record.Journal, string, error) {
	base := site + now.Format("-20060102-1504")
	for n := 1; ; n++ {
		id := base
		if n > 1 {
			id = fmt.Sprintf("%s-%d", base, n)
		}
		j, err := record.Create(runs, id)
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			continue
		}
		return j, id, err
	}
}

// operator is who runs preflight, from where.
func operator() record.Operator {
	var o record.Operator
	if u, err := user.Current(); err == nil {
		o.User = u.Username
	}
	o.Host, _ = os.Hostname()
	return o
}
