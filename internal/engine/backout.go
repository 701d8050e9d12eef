package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/record"
)

// writeBackOut writes, for each server, PowerShell that takes back what the run adds there. It needs no tool but
// PowerShell on that server. It is written before the first rule is added, when it can only name the rules; and once
// more when they are in, when it can say what they have to be like.
func (e *Engine) writeBackOut(todo map[string][]record.PlannedChange) (files []string, err error) {
	changes := map[string]record.Change{}
	for _, c := range e.Record().Changes {
		changes[c.Server+" "+c.ID] = c
	}
	for _, n := range e.Site.Nodes {
		if len(todo[n.Name]) == 0 {
			continue
		}
		name := "backout/" + n.Name + ".ps1"
		if err := e.Folder.WriteFile(name, []byte(backOutText(e.Record().Run.ID, n.Name, todo[n.Name], changes))); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

const localRules = `HKLM:\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules`

// backOutText is the back-out of one server. A rule whose stored form is known is removed only if it is still that; one
// that was there before the run stays.
func backOutText(run, server string, todo []record.PlannedChange, changes map[string]record.Change) string {
	lines := []string{
		fmt.Sprintf("# Takes back the firewall rules that run %s adds on %s.", run, server),
		"# Paste it there into PowerShell, as administrator. No other rule is touched, and none of these that is no longer as it",
		"# was left, as far as that is known when this is written.",
		"$rules = Get-ItemProperty -LiteralPath " + firewall.Quote(localRules),
	}
	for _, p := range slices.Backward(todo) {
		c, tried := changes[server+" "+p.ID]
		switch {
		case tried && c.State == record.There:
			lines = append(lines, "# "+p.ID+" was there before: it stays")
		case tried && c.State == record.Failed:
			lines = append(lines, "# "+p.ID+" was not added")
		case tried && c.State == record.Done && c.After != nil && strings.IndexFunc(*c.After, func(r rune) bool { return r < ' ' || r > '~' }) < 0:
			lines = append(lines, fmt.Sprintf("if ($rules.%s -ceq %s) { %s } else { %s }", firewall.Quote(p.ID), firewall.Quote(*c.After), p.Inverse, firewall.Quote(p.ID+" is not there, or not as it was left: passed over")))
		default:
			lines = append(lines, p.Inverse)
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}
