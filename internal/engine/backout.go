package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/record"
)

// writeBackOut writes, for each server, PowerShell that takes back what is about to be added. It needs no tool but
// PowerShell on that server.
func (e *Engine) writeBackOut(todo map[string][]record.PlannedChange) error {
	files := []string{}
	for _, n := range e.Site.Nodes {
		changes := todo[n.Name]
		if len(changes) == 0 {
			continue
		}
		name := "backout/" + n.Name + ".ps1"
		var b strings.Builder
		fmt.Fprintf(&b, "# Takes back the firewall rules that run %s adds on %s. Paste it there into PowerShell, as administrator.\r\n", e.Record().Run.ID, n.Name)
		b.WriteString("# A rule that is not there gives an error that does not matter; no other rule is touched.\r\n")
		for _, c := range slices.Backward(changes) {
			b.WriteString(c.Inverse + "\r\n")
		}
		if err := e.Folder.WriteFile(name, []byte(b.String())); err != nil {
			return err
		}
		files = append(files, name)
	}
	return e.emit(record.BackOutWritten{Files: files, At: e.now()})
}
