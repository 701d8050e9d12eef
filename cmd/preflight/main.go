// Command preflight prepares and joins Qlik Sense rim nodes. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exit is the error of a command that has said all there is to say, and ends with a code.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is an error in the command line or the site file.
type usageError struct{ error }

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cobra.MousetrapHelpText = "" // a double click is a way to start it
	root := &cobra.Command{
		Use:   "preflight",
		Short: "prepare and join Qlik Sense rim nodes",
		Long: `preflight prepares a Qlik Sense rim node for its central node: it connects to the servers over WinRM, adds the
Windows Firewall rules that are missing, proves each port from the other node, and leaves a report for the
change ticket.

  preflight demo    the whole journey on simulated servers; touches nothing real`,
		SilenceUsage: true, SilenceErrors: true,
		Args: noArguments,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(demoCommand(), explainCommand(), scriptsCommand(), versionCommand())
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }

	called, err := root.ExecuteContextC(ctx)
	var code exit
	var usage usageError
	var bad *site.Error
	switch {
	case err == nil:
		return record.ExitPassed
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &bad):
		fmt.Fprint(stderr, bad.Detail())
		return record.ExitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "error: %v\nhint: %s --help\n", err, called.CommandPath())
		return record.ExitUsage
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	return record.ExitInternal
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s: unexpected argument %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
