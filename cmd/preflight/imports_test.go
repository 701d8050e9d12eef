package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/qlik-preflight/preflight/"

// allowed says which packages of the project each may import. Data goes one way: from the site file and the servers
// through facts, proofs and findings into the record, and from the record to whatever shows it.
var allowed = []struct {
	pkg     string
	imports string
	why     string
}{
	{"internal/printable", "", "text is data"},
	{"internal/secret", "", "what must not be shown"},
	{"internal/site", "", "the site file depends on nothing"},
	{"internal/firewall/rule", "", "the lab and the packet tier import it: it knows the rule string alone"},
	{"internal/firewall", "internal/firewall/rule", "it knows Windows Firewall and no Qlik"},
	{"internal/ports", "internal/site internal/firewall", "flows are a function of the site file"},
	{"internal/facts", "internal/firewall", "what was read from a server"},
	{"internal/proof", "internal/ports internal/facts internal/firewall", "verdicts are a function of both ends' reports"},
	{"checks", "internal/printable internal/site internal/ports internal/facts internal/firewall internal/proof", "checks look at facts, never at a server"},
	{"internal/record", "internal/printable checks internal/site internal/ports internal/facts internal/firewall internal/firewall/rule internal/proof", "the record is a pure fold"},
	{"internal/winrm", "internal/secret", "a WinRM client of its own"},
	{"internal/script", "internal/printable internal/secret internal/facts internal/firewall internal/firewall/rule internal/proof", "scripts know their own input and output"},
	{"internal/join", "internal/printable internal/secret internal/site internal/facts internal/script", "the steps of a join; it writes no events"},
	{"reports", "internal/printable checks internal/record internal/proof", "a rendering is a function of the record"},
	{"internal/wizard", "checks internal/printable internal/secret internal/site internal/record", "the conversation is a value: it draws nothing, and what it leads to is done by others"},
	{"tui", "internal/printable internal/wizard internal/record internal/site internal/proof internal/facts checks reports", "a screen is a function of the conversation and the record, in the words of the reports"},
	{"internal/engine", "internal/printable checks internal/site internal/ports internal/facts internal/firewall internal/firewall/rule internal/proof internal/record internal/winrm internal/script internal/secret internal/join", "the only writer of events; it draws nothing"},
	{"internal/lab/wsman", "", "a server's end of WinRM must not share the client's mistakes"},
	{"internal/lab/qlik", "", "what Qlik's services answer"},
	{"internal/lab/host", "internal/script internal/firewall/rule", "it must not agree with the evaluation's bugs: never internal/firewall"},
	{"internal/lab", "internal/site internal/firewall/rule internal/lab/host internal/lab/qlik internal/lab/wsman", "the simulated site"},
	{"internal/tier", "", "for tests"},
	{"cmd/preflight", "*", "everything comes together here"},
}

func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(strings.ReplaceAll(line, module, ""))
		pkg, imports := fields[0], fields[1:]
		i := slices.IndexFunc(allowed, func(a struct{ pkg, imports, why string }) bool { return a.pkg == pkg })
		if i < 0 {
			t.Errorf("%s is not in the table of import rules", pkg)
			continue
		}
		seen++
		rule := allowed[i]
		for _, path := range imports {
			ours := strings.HasPrefix(path, "internal/") || path == "checks" || path == "reports" || path == "tui"
			if ours && rule.imports != "*" && !slices.Contains(strings.Fields(rule.imports), path) {
				t.Errorf("%s imports %s: %s", pkg, path, rule.why)
			}
			if strings.Contains(path, "github.com/charmbracelet/") && pkg != "tui" {
				t.Errorf("%s imports %s: only tui draws", pkg, path)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d packages were checked; the table has %d", seen, len(allowed))
	}
}
