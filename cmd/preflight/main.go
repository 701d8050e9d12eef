// Command preflight prepares and joins Qlik Sense rim nodes. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

func main() {
	code := invoke()
	linger()
	os.Exit(code)
}

// invoke runs the program as the system started it.
func invoke() int {
	cobra.MousetrapHelpText = "" // a double click is a way to start it
	// A reader of the output that goes away must not end a run that is changing servers: writing fails, and that is all.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // the second interrupt ends the program at once
	}()
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// exit is the error of a command that has said all there is to say, and ends with a code.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is an error in the command line, the site file, or anything else that is to be put right before it is tried
// again. hint is what to type instead, "" for the command's help.
type usageError struct {
	error
	hint string
}

func (e usageError) Unwrap() error { return e.error }

func usage(hint, format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), hint}
}

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, done: func() {}}
	root := a.rootCommand()
	root.SetArgs(args)
	called, err := root.ExecuteContextC(ctx)
	a.done()
	code := ended(err, called, stderr)
	if err := a.result.close(); err != nil {
		fmt.Fprintf(stderr, "error: %s\n", printable.Line(err.Error()))
		if code != record.ExitPartly {
			code = record.ExitInternal
		}
	}
	return code
}

// ended says what a command ended with, if it has not said so itself, and returns the exit code.
func ended(err error, called *cobra.Command, stderr io.Writer) int {
	var code exit
	var wrong usageError
	var bad *site.Error
	switch {
	case err == nil:
		return record.ExitPassed
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &bad):
		fmt.Fprint(stderr, bad.Detail())
		return record.ExitUsage
	case errors.As(err, &wrong):
		hint := wrong.hint
		if hint == "" {
			hint = called.CommandPath() + " --help"
		}
		fmt.Fprintf(stderr, "error: %s\nhint: %s\n", printable.Line(err.Error()), hint)
		return record.ExitUsage
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(stderr, "error: cancelled")
		return record.ExitCancelled
	}
	fmt.Fprintf(stderr, "error: %s\n", printable.Line(err.Error()))
	return record.ExitInternal
}

func (a *app) rootCommand() *cobra.Command {
	var asked wizardFlags
	root := &cobra.Command{
		Use:   "preflight",
		Short: "prepare and join Qlik Sense rim nodes",
		Long: `preflight prepares a Qlik Sense rim node for its central node: it connects to the servers over WinRM, adds the
Windows Firewall rules that are missing, proves each port from the other node, and leaves a report for the
change ticket.

  preflight                              a wizard through all of it
  preflight demo                         all of it on simulated servers
  preflight init                         write a site file: which servers
  preflight check -f site.yaml           look; changes nothing
  preflight plan  -f site.yaml           what would be added, and its ticket
  preflight apply last --approve DIGEST  add it, and prove it
  preflight join  last --rim NAME        take the rim into the site`,
		SilenceUsage: true, SilenceErrors: true,
		Args:              noArguments,
		PersistentPreRunE: a.prepare,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.wizard(cmd, asked) },
	}
	asked.flags(root)
	siteFlag(root, &asked.file)
	root.Flags().StringVar(&asked.ticket, "ticket", "", "the number of the change ticket")
	a.runsFlag(root)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetHelpFunc(a.help)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{error: err} })
	root.SuggestionsMinimumDistance = 2 // of what noArguments proposes
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVarP(&a.format, "output", "o", "text", "format of the result: text, json or jsonl")
	flags.StringVar(&a.out, "out", "", "write the result to this file instead of standard output")
	flags.BoolVar(&a.noInput, "no-input", false, "ask nothing: what is missing is an error")
	flags.DurationVar(&a.timeout, "timeout", 0, "give up after this time, as 90s or 10m (0: never)")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say more in the text: every check, each rule's PowerShell")
	root.AddCommand(
		a.initCommand(), a.checkCommand(), a.planCommand(), a.applyCommand(), a.verifyCommand(), a.joinCommand(), a.backoutCommand(), a.reportCommand(),
		a.demoCommand(), a.labCommand(), a.explainCommand(), a.portsCommand(), a.scriptsCommand(), a.schemaCommand(), a.completionCommand(), a.versionCommand(),
	)
	a.complete(root)
	return root
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + cmd.CommandPath() + " " + strings.Join(near, ", or "+cmd.CommandPath()+" ") + "?"
		}
		return usage(hint, "%s: unexpected argument %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// oneArgument asks for exactly one, called name.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage("", "%s: %s is missing", cmd.CommandPath(), name)
		case len(args) > 1:
			return usage("", "%s: unexpected argument %q", cmd.CommandPath(), args[1])
		}
		return nil
	}
}
