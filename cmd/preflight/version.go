package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/record"
)

// version is the release that this tree becomes.
const version = "0.1.0"

// tool is this program, as it stands in a record.
func tool() record.Tool {
	t := record.Tool{Name: "preflight", Version: version, Commit: "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				t.Commit = s.Value
			}
		}
	}
	return t
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			t := tool()
			return a.show(fmt.Sprintf("preflight %s, commit %s\n", t.Version, t.Commit), t)
		},
	}
}
