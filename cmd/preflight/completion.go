package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
)

// shells are those that a completion script can be written for.
var shells = []string{"bash", "fish", "powershell", "zsh"}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion SHELL", Short: "a script with which the shell completes what is typed",
		Long: `completion prints a script for bash, fish, powershell or zsh, with which the shell completes commands, flags, runs, checks
and scenarios. In PowerShell, for this window or in the profile for every one:

  preflight completion powershell | Out-String | Invoke-Expression

in bash, where it needs the package bash-completion, in fish and in zsh:

  source <(preflight completion bash)
  preflight completion fish | source
  source <(preflight completion zsh)`,
		Annotations: map[string]string{formats: "text"},
		Args: func(cmd *cobra.Command, args []string) error {
			if err := oneArgument("SHELL")(cmd, args); err != nil {
				return err
			}
			if _, ok := completionScripts[args[0]]; !ok {
				return usage("the shells are "+strings.Join(shells, ", "), "%s: there is no script for %q", cmd.CommandPath(), args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return completionScripts[args[0]](cmd.Root(), a.result)
		},
	}
}

var completionScripts = map[string]func(*cobra.Command, *result) error{
	"bash":       func(root *cobra.Command, to *result) error { return root.GenBashCompletionV2(to, true) },
	"fish":       func(root *cobra.Command, to *result) error { return root.GenFishCompletion(to, true) },
	"powershell": func(root *cobra.Command, to *result) error { return root.GenPowerShellCompletionWithDesc(to) },
	"zsh":        func(root *cobra.Command, to *result) error { return root.GenZshCompletion(to) },
}

// proposals are words that can stand at one place of a command line, each with what it means after a tab.
type proposals func(cmd *cobra.Command, args []string) []string

// complete teaches the commands what the shell is to propose: by the name of a flag, and by the argument that a command's
// usage names. What approves or confirms something is never proposed.
func (a *app) complete(root *cobra.Command) {
	flags := map[string]proposals{
		"output":   func(cmd *cobra.Command, _ []string) []string { return known(cmd) },
		"rim":      a.rimsOf,
		"color":    fixed(colors...),
		"qrs-auth": fixed("certificate"),
		"release":  func(*cobra.Command, []string) []string { return ports.Names() },
		"scenario": func(*cobra.Command, []string) (all []string) {
			for _, s := range lab.Scenarios {
				all = append(all, s.Name+"\t"+s.Does)
			}
			return all
		},
		"transport": fixed("https"),
	}
	arguments := map[string]proposals{
		"RUN":         a.runNames,
		"CHECK":       checkNames,
		"[NAME]":      scriptNames,
		"SHELL":       fixed(shells...),
		"site|report": fixed("report", "site"),
	}
	for _, cmd := range append(root.Commands(), root) {
		_, usage, _ := strings.Cut(cmd.Use, " ")
		argument, _, _ := strings.Cut(usage, " ")
		cmd.ValidArgsFunction = cobra.NoFileCompletions
		if p, ok := arguments[argument]; ok {
			cmd.ValidArgsFunction = p.one
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch p, ok := flags[f.Name]; {
			case ok:
				cmd.RegisterFlagCompletionFunc(f.Name, p.complete)
			case f.Name == "file":
				cmd.MarkFlagFilename(f.Name, "yaml", "yml")
			case f.Name == "runs", f.Name == "write":
				cmd.MarkFlagDirname(f.Name)
			case !slices.Contains([]string{"ca", "out", "qrs-ca", "qrs-cert", "qrs-key"}, f.Name):
				cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
			}
		})
	}
	root.RegisterFlagCompletionFunc("output", flags["output"].complete)
	root.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
}

// complete are the proposals that begin with what is typed.
func (p proposals) complete(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	begun := slices.DeleteFunc(slices.Clone(p(cmd, args)), func(s string) bool { return !strings.HasPrefix(s, typed) })
	return begun, cobra.ShellCompDirectiveNoFileComp
}

// one are the proposals for the only argument of a command.
func (p proposals) one(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.complete(cmd, args, typed)
}

func fixed(words ...string) proposals {
	return func(*cobra.Command, []string) []string { return words }
}

// runNames proposes the runs that a command can go on with; report shows the others, too. A folder whose name could act on the
// terminal, or on the shell that reads a proposal a line, is none of preflight's.
func (a *app) runNames(cmd *cobra.Command, _ []string) []string {
	runs, _ := record.Runs(a.runs)
	var all []string
	for _, r := range runs {
		if (r.Change() || cmd.Name() == "report") && r.Name == printable.Line(r.Name) {
			all = append(all, fmt.Sprintf("%s\t%s of %s", r.Name, printable.Line(r.Command), r.At.Local().Format("2 Jan 15:04")))
		}
	}
	if len(all) > 0 {
		all = append([]string{"last\tthe newest"}, all...)
	}
	return all
}

// rimsOf proposes the rims of the run that a command line names.
func (a *app) rimsOf(_ *cobra.Command, args []string) []string {
	if len(args) != 1 {
		return nil
	}
	dir, err := a.find(args[0], false)
	if err != nil {
		return nil
	}
	r, err := record.Replay(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, n := range r.Site.Rims() {
		all = append(all, printable.Line(n.Name))
	}
	return all
}

func checkNames(*cobra.Command, []string) (all []string) {
	for _, c := range checks.Catalogue {
		all = append(all, c.ID+"\t"+c.Title)
	}
	return all
}

func scriptNames(*cobra.Command, []string) (all []string) {
	for _, op := range append([]script.Op{script.ProbeOp}, script.Ops...) {
		all = append(all, op.Name+"\t"+op.Does)
	}
	return all
}
