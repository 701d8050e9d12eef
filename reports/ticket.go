package reports

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// shortDescription is how much change forms take as a short description.
const shortDescription = 160

// Ticket is the run for a change form, as plain text. The first line is a short description; after it come blocks under
// headings, each of which can be pasted alone. It is true of the moment of the record: a plan to approve, or also what
// became of it. recordSHA256 is the digest of the file record.json, "" if there is none.
func Ticket(r record.Record, recordSHA256 string) []byte {
	p := &page{width: 100}
	p.line(short(r))
	summaryBlock(p, r)
	whyBlock(p, r)
	riskBlock(p, r)
	implementationBlock(p, r)
	testBlock(p, r)
	backOutBlock(p, r)
	if begun(r) {
		resultBlock(p, r)
		evidenceBlock(p, r, recordSHA256)
	}
	return p.done()
}

// begun tells whether the run has gone on from its plan.
func begun(r record.Record) bool {
	return len(r.Changes) > 0 || slices.ContainsFunc(r.Run.Commands, func(c record.Command) bool { return c.Name != "plan" && c.Name != "check" })
}

// tried tells whether the plan was to be applied.
func tried(r record.Record) bool {
	return len(r.Changes) > 0 || slices.ContainsFunc(r.Run.Commands, func(c record.Command) bool { return c.Name == "apply" || c.Name == "demo" })
}

// short is the short description. It names the rim nodes if that fits, and else counts them; a long site name is cut.
func short(r record.Record) string {
	site := flat(r.Site.Name)
	for _, most := range []int{len(r.Site.Nodes), 1, 0} {
		if s := describe(r, site, most); len([]rune(s)) <= shortDescription {
			return s
		}
	}
	rest := len([]rune(describe(r, "", 0))) + 1
	s := []rune(describe(r, string([]rune(site)[:min(len([]rune(site)), max(0, shortDescription-rest))])+"…", 0))
	if len(s) > shortDescription {
		s = append(s[:shortDescription-1], '…')
	}
	return string(s)
}

// describe names the rim nodes if they are not more than most.
func describe(r record.Record, site string, most int) string {
	p := progressOf(r)
	of := map[string]bool{}
	for _, c := range r.Plan.Changes {
		of[c.Server] = true
	}
	what := func(n int) string { return checks.Count(n, "firewall rule", "firewall rules") }
	and, more := describeJoin(r, most)
	on, nodes := " on "+checks.Count(len(of), "server", "servers"), " for "+rimNodes(rims(r), most)
	where := on + and
	none := strings.Replace(and, " and ", "; ", 1)
	ready := r.BackOut != nil
	var s string
	switch {
	case p.all == 0:
		s, ready = "no firewall rule to open"+none, false
	case p.gone > 0 && p.added+p.doubt == 0:
		s, ready, more = "took back the "+what(p.gone)+" opened"+on+nodes, false, ""
	case p.gone > 0 && undone(r):
		s, more = fmt.Sprintf("PARTLY: took back %d of %s opened%s", p.gone, what(p.gone+p.added+p.doubt), on+nodes), ""
	case !tried(r):
		s = "open " + what(p.all) + where
	case p.added+p.there+p.notNeeded == p.all && p.added > 0:
		s = "opened " + what(p.added) + where
		if p.notInForce > 0 {
			s += fmt.Sprintf(", %d NOT in force", p.notInForce)
		}
	case p.added+p.there+p.notNeeded == p.all:
		s = "no firewall rule had to be opened" + none
	case p.added+p.there+p.doubt > 0:
		s = fmt.Sprintf("PARTLY: opened %d of %s%s", p.added+p.there, what(p.all), where)
		if p.doubt > 0 {
			s += fmt.Sprintf(", %d in doubt", p.doubt)
		}
	default:
		s, ready = "NOT opened: "+what(p.all)+where+"; nothing was changed", false
		if len(r.Plan.Unapproved) > 0 {
			s += "; the servers are no longer as planned"
		}
	}
	s += more
	if n := waiting(r); n > 0 && p.gone == 0 {
		s += fmt.Sprintf("; %s for others to open", checks.Count(n, "port", "ports"))
	}
	if f := tested(r); tried(r) && p.gone == 0 && (p.all == 0 || p.added+p.there+p.notNeeded > 0) && f.Proven+f.Failed > 0 {
		s += fmt.Sprintf("; proven %d/%d", f.Proven, f.Total)
		if f.Failed > 0 {
			s += fmt.Sprintf(", %d FAILED", f.Failed)
		}
		if f.NotTested > 0 {
			s += fmt.Sprintf(", %d not tested", f.NotTested)
		}
	}
	if ready {
		s += "; back-out ready"
	}
	if r.Run.Simulated {
		site += " (simulated servers)"
	}
	return "Qlik Sense " + site + ": " + s
}

// undone tells whether the run's rules were last taken back, and not added again.
func undone(r record.Record) bool {
	for i, c := range slices.Backward(r.Run.Commands) {
		if (c.Name == "apply" || c.Name == "demo" || c.Name == "backout") && !looksOnly(r, i) {
			return c.Name == "backout"
		}
	}
	return false
}

// tested counts the flows by the last proof that could be made of each: that a later verify could not test one is no news
// for the ticket.
func tested(r record.Record) record.Flows {
	f := record.Flows{Total: r.Verdict.Flows.Total}
	for _, q := range r.Tested() {
		switch {
		case q.Verdict.Fails():
			f.Failed++
		case q.Verdict.Works() && q.Level == "proven":
			f.Proven++
		}
	}
	f.NotTested = f.Total - f.Proven - f.Failed
	return f
}

// waiting counts the ports that no rule of ours would open.
func waiting(r record.Record) int {
	ports := map[string]bool{}
	for _, b := range r.Plan.Blocked {
		ports[fmt.Sprint(b.Server, " ", b.Port)] = true
	}
	return len(ports)
}

func (p *page) block(title string) {
	p.line("")
	p.line(title)
	p.line(strings.Repeat("=", len(title)))
}

func summaryBlock(p *page, r record.Record) {
	p.block("Summary")
	n := len(r.Plan.Changes)
	switch {
	case n == 0:
		p.para("", fmt.Sprintf("No firewall rule has to be added on the servers of the Qlik Sense site %s (release %s) for its %s.", r.Site.Name, r.Site.Release, rimNodes(rims(r), 4)))
		joinSummaryBlock(p, r)
	default:
		p.para("", fmt.Sprintf("%s added to Windows Firewall on %s of the Qlik Sense site %s (release %s), so that the central node %s and the %s can reach each other.",
			checks.Count(n, "inbound allow rule is", "inbound allow rules are"), someOf(changed(r)), r.Site.Name, r.Site.Release, central(r), rimNodes(rims(r), 4)))
		joinSummaryBlock(p, r)
		rest := "no setting is touched, no service is restarted, nothing is installed."
		if len(joining(r)) > 0 {
			rest = "no setting of Windows is touched, nothing is installed; what the join puts into the rim's certificate stores, Qlik Sense itself does."
		}
		p.para("", "Nothing else is changed: no rule that is there is altered or removed, "+rest)
	}
	if r.Run.Simulated {
		p.para("", "Simulated servers: this run touches nothing real.")
	}
	for _, n := range waitingFor(r) {
		p.para("", n)
	}
	rows := []row{{cells: []string{"ticket", cmp.Or(r.Change.Ticket, "none was named")}}, {cells: []string{"run", r.Run.ID}}}
	if r.Run.SiteFile != "" {
		rows = append(rows, row{cells: []string{"site file", r.Run.SiteFile}})
	}
	if len(r.Run.Commands) > 0 {
		c := r.Run.Commands[0]
		rows = append(rows, row{cells: []string{"planned", moment(c.StartedAt) + " by " + operator(c.Operator)}})
	}
	if begun(r) {
		for _, l := range standingOf(r).lines() {
			rows = append(rows, row{cells: []string{l.what, l.text}})
		}
	} else {
		rows = append(rows, row{cells: []string{"now", "nothing has been changed yet"}})
	}
	p.line("")
	p.grid("", rows)
}

// changed are the servers that the plan changes, in the order of the site.
func changed(r record.Record) []string {
	var names []string
	for _, s := range r.Servers {
		if slices.ContainsFunc(r.Plan.Changes, func(c record.PlannedChange) bool { return c.Server == s.Name }) {
			names = append(names, s.Name)
		}
	}
	return names
}

// waitingFor says what only others can open, why, and where the request to them is.
func waitingFor(r record.Record) []string {
	var out []string
	for _, s := range r.Servers {
		_, why := blockedRows(r, s.Name)
		for _, o := range why {
			out = append(out, fmt.Sprintf("Not part of this change, for a rule added here would not open it: TCP %s of %s; %s.", checks.List(o.ports, " "), s.Name, o.why))
		}
		if asked := Requests(r, s.Name); asked != "" {
			out = append(out, asked+" of "+s.Name+".")
		}
	}
	return out
}

// teams are whose the stores are that rules can be asked for.
var teams = []struct{ store, team string }{{"policy", "the Active Directory team"}, {"mdm", "the device management team"}}

// Owner is who can change what stands in a store of the firewall.
func Owner(store string) string {
	for _, t := range teams {
		if t.store == store {
			return t.team
		}
	}
	return cmp.Or(map[string]string{"local": "you"}[store], "whoever set that")
}

func whyBlock(p *page, r record.Record) {
	p.block("Why")
	if names := joining(r); len(names) > 0 {
		is := rimNodesAre(names) + " to be joined"
		if len(toJoin(r)) == 0 && each(takenEver(r), taken.runs) {
			is = rimNodes(names, 4) + map[bool]string{true: " has", false: " have"}[len(names) == 1] + " been joined"
		}
		p.para("", fmt.Sprintf("The %s to the central node %s. For that, and while they run, the nodes of a Qlik Sense site of release %s dial each other on the TCP ports of the test plan.",
			is, central(r), r.Site.Release))
	} else {
		p.para("", fmt.Sprintf("The %s of the site. While they run, the nodes of a Qlik Sense site of release %s dial each other on the TCP ports of the test plan.",
			rimNodesAre(rims(r))+" part", r.Site.Release))
	}
	if len(r.Plan.Changes) > 0 {
		p.para("", "When this was planned, no firewall rule admitted the connections that the new rules are for. What no rule admits, Windows Firewall drops.")
	}
	if slices.ContainsFunc(r.Plan.Changes, func(c record.PlannedChange) bool { return slices.Contains(dialled(c.Why), "clients") }) {
		p.para("", "Rules that are also for clients admit the networks where people's browsers are, as the site file names them.")
	}
}

func riskBlock(p *page, r record.Record) {
	p.block("Risk and impact")
	item := func(s string) { p.para("- ", s) }
	if len(r.Plan.Changes) > 0 {
		item("The rules cause no outage: an allow rule takes effect at once, cuts no connection and needs no restart.")
		item("What becomes reachable is what the implementation plan lists, from the addresses listed there and no others.")
	}
	for _, c := range r.Plan.Changes {
		if slices.Contains(c.From, "any") {
			item(fmt.Sprintf("Ports %s of %s are opened to ANY address: the site file says so.", checks.List(c.Ports, ","), c.Server))
		}
	}
	if len(r.Plan.Changes) > 0 {
		item("The way back is written before the first rule is added. Each rule is added and read back on its own, and what happened to it is recorded; if a run breaks off, the record says which rules are in.")
		item("Nothing is added if the servers then need another rule than those approved: the run stops and says so (exit code 6).")
	} else {
		item("Should the servers need a rule by then, none is added: the run stops and says so (exit code 6).")
	}
	item("The tests dial the ports listed in the test plan, and no others; how fast, and what a monitoring team will see, is in the implementation plan.")
	joinRisk(item, r)
	var rows []row
	for _, s := range r.Servers {
		for _, x := range alreadyRows(foreign(r.Plan.Already), s.Name, false) {
			rows = append(rows, row{cells: append([]string{s.Name}, x.cells...)})
		}
	}
	if len(rows) > 0 {
		item("This relies on what is there already and is not ours. It is not touched; whoever removes or narrows it later closes these ports:")
		p.grid("  ", rows)
	}
}

// foreign are what is right already without a rule of ours.
func foreign(all []record.PlannedRelied) []record.PlannedRelied {
	return slices.DeleteFunc(slices.Clone(all), func(a record.PlannedRelied) bool { return a.Ours })
}

func implementationBlock(p *page, r record.Record) {
	p.block("Implementation plan")
	command := fmt.Sprintf("preflight apply %s --approve %.12s", printable.Argument(typed(r)), r.Change.PlanSHA256)
	if len(r.Plan.Changes) == 0 {
		p.para("", "Nothing is added. This runs the test plan; on "+where(r)+", type:")
		p.line("")
		p.line("  " + command)
		if len(joining(r)) > 0 {
			p.line("")
			joinPlan(p, r, "")
		}
	} else if r.Change.PlanSHA256 == "" {
		p.line("Nothing can be added yet: there is no plan that could be approved.")
	} else {
		p.para("1. ", "On "+where(r)+", type:")
		p.line("")
		p.line("     " + command)
		p.line("")
		p.para("   ", "What stands after --approve is the digest of the plan that is approved here: the first 12 characters of the SHA-256 of plan.json, which certutil -hashfile plan.json SHA256 shows. Another plan is refused.")
		p.para("2. ", "The program signs in on each server over WinRM, looks at the firewall again, adds the rules below, on all servers at the same time and on each one after the other, reads each back and asks the firewall whether they are in force.")
		p.para("3. ", "It runs the test plan. It ends with exit code 0 if everything is proven.")
		joinPlan(p, r, "4. ")
		p.line("")
		p.para("", EveryRule(r)+" Local port and remote address as listed, any program, no edge traversal; the group of each is Preflight, and its name begins with preflight-.")
		p.line("")
		for _, names := range alike(p, r) {
			for _, name := range names {
				p.line(serverLine(r, name))
			}
			p.grid("  ", changeRows(p, r, planned(r, names[0]), false))
		}
		p.line("")
		p.line("By hand, instead of steps 1 and 2: on the server named, in PowerShell, as administrator:")
		for _, name := range changed(r) {
			p.line("")
			p.line(name + ":")
			for _, c := range planned(r, name) {
				p.line(flat(c.PowerShell))
			}
		}
	}
	p.line("")
	probes(p, r)
	p.line("")
	monitoring(p, r)
}

// alike are the servers that the plan changes, those together whose rules are the same.
func alike(p *page, r record.Record) [][]string {
	var all [][]string
	var shown []string
	for _, name := range changed(r) {
		q := &page{width: p.width}
		q.grid("", changeRows(q, r, planned(r, name), false))
		if i := slices.Index(shown, q.String()); i >= 0 {
			all[i] = append(all[i], name)
			continue
		}
		all, shown = append(all, []string{name}), append(shown, q.String())
	}
	return all
}

func planned(r record.Record, server string) []record.PlannedChange {
	return slices.DeleteFunc(slices.Clone(r.Plan.Changes), func(c record.PlannedChange) bool { return c.Server != server })
}

// serverLine is a server with what a change board knows it by.
func serverLine(r record.Record, name string) string {
	var more []string
	for _, n := range r.Site.Nodes {
		if n.Name == name {
			more = append(more, string(n.Role)+" node")
			if n.Host != name && n.Host != "" {
				more = append(more, n.Host)
			}
		}
	}
	if a := address(r, name); a != "" {
		more = append(more, a)
	}
	return name + after(" (", strings.Join(more, ", ")) + map[bool]string{true: ")"}[len(more) > 0]
}

// probes tells those who watch the network when and how fast the nodes dial each other.
func probes(p *page, r record.Record) {
	p.line("What the tests send, so that nobody takes it for an attack:")
	item := func(s string) { p.para("- ", s) }
	rules := len(r.Plan.Changes) > 0
	when := "with preflight apply, "
	if rules {
		when = "before the rules are added (baseline), right after they are, "
	}
	if len(joining(r)) > 0 {
		when += "before and after the join, "
	}
	item("When: " + when + "and again with each preflight verify.")
	item("What: one TCP connection for each flow of the test plan, given up after 4 s. No node dials another more than 15 times in 5 s.")
	var rows []row
	for _, d := range dials(r) {
		rows = append(rows, row{cells: []string{ends(r, d.from) + " -> " + ends(r, d.to), checks.Count(len(d.ports), "connection", "connections") + map[bool]string{true: " each"}[len(d.from)+len(d.to) > 2]}})
	}
	p.grid("    ", rows)
	if l := r.Site.Proof.Listen; l != nil && !*l {
		item("Only services that listen already are dialled: the site file forbids listeners of our own.")
		return
	}
	before := ""
	if rules {
		before = "Before the rules are in, only services that listen already are dialled. After it, on"
	} else {
		before = "On"
	}
	item(before + " a port that nobody uses yet, the target's powershell.exe listens for some seconds and answers with a key; it never takes a port that is in use, or is about to be.")
}

// ends are nodes with their addresses.
func ends(r record.Record, names []string) string {
	var all []string
	for _, name := range names {
		if a := address(r, name); a != "" {
			name += " (" + a + ")"
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

// address is the address of a node as the others dial it, "" if none has said.
func address(r record.Record, name string) string {
	for _, s := range r.Servers {
		if s.Facts == nil {
			continue
		}
		if q, ok := s.Facts.Peer(name); ok && len(q.Addresses) > 0 {
			return q.Addresses[0].String()
		}
	}
	for _, s := range r.Servers {
		if s.Name == name && s.Facts != nil {
			for _, q := range s.Facts.Peers {
				if q.Source.IsValid() {
					return q.Source.String()
				}
			}
		}
	}
	return ""
}

const firewallLog = `"Microsoft-Windows-Windows Firewall With Advanced Security/Firewall"`

// monitoring tells those who watch the servers what they will see.
func monitoring(p *page, r record.Record) {
	p.line("What a monitoring team will see on the servers:")
	item := func(s string) { p.para("- ", s) }
	if len(r.Plan.Changes) > 0 {
		item("For each rule added, event 2004 (2071 or 2097 on newer Windows) in the log " + firewallLog + ", with the modifying application WmiPrvSE.exe; for each rule taken back, event 2006 (2052 on newer Windows) there.")
		item("Detection rules for firewall rules that are added by WmiPrvSE.exe, and for New-NetFirewallRule, may raise alerts.")
	}
	who := map[string]bool{}
	var users []string
	for _, s := range r.Servers {
		if s.SignIn != nil && s.SignIn.User != "" && !who[s.SignIn.User] {
			who[s.SignIn.User] = true
			users = append(users, printable.Line(s.SignIn.User))
		}
	}
	as := ""
	if len(users) > 0 {
		as = " as " + listed(users)
	}
	if h := last(r).Operator.Host; h != "" {
		as += " from " + printable.Line(h)
	}
	item("Sign-ins over WinRM" + as + ", each running powershell.exe for some seconds.")
	joinMonitoring(item, r)
}

func testBlock(p *page, r record.Record) {
	p.block("Test plan")
	n := 0
	var rows []row
	for _, d := range dials(r) {
		n += len(d.from) * len(d.to) * len(d.ports)
		rows = append(rows, row{cells: []string{strings.Join(d.from, ", ") + " -> " + strings.Join(d.to, ", "), checks.List(d.ports, " ")}})
	}
	total := max(r.Verdict.Flows.Total, n)
	p.para("", fmt.Sprintf("%s dialled, each from the node that will use it (TCP):", checks.Count(total, "flow is", "flows are")))
	p.grid("  ", rows)
	if total > n {
		p.para("  ", fmt.Sprintf("and %d more, of nodes whose addresses are not known yet", total-n))
	}
	p.para("", "A flow counts as proven only if both ends saw the same connection: the target's TCP table shows that very connection and the service speaks, or a listener on the target answers with a key that the dialling node does not have. What could not be tested is called not tested, with the reason; it never counts as passed.")
	for _, f := range r.Flows() {
		if f.Speech == "nothing" {
			p.para("", fmt.Sprintf("The %s on %d waits to be told something: the program that listens there is looked at instead of what it says.", f.Part.Name, f.Port))
			break
		}
	}
	says := "ready"
	if len(joining(r)) > 0 {
		p.para("", "After the join every flow is proven once more, now against the real services: that is the close-out test.")
		says = "ready (the close-out test: joined)"
	}
	p.para("", "The test has passed when the program says "+says+" and ends with exit code 0. At any later time, the same again, compared with the proofs before:")
	p.line("")
	p.line("  preflight verify " + printable.Argument(typed(r)))
}

func backOutBlock(p *page, r record.Record) {
	p.block("Back-out plan")
	left := slices.DeleteFunc(slices.Clone(r.Plan.Changes), func(c record.PlannedChange) bool {
		switch Became(r, c).State {
		case record.There, record.NotNeeded, record.Void, record.Failed, record.TakenBack:
			return true
		}
		return false
	})
	if len(r.Plan.Changes) == 0 {
		p.line("Nothing was added, so nothing is to be taken back.")
		joinBackOut(p, r, false)
		return
	}
	if len(left) == 0 {
		p.line("Nothing of this run is left on the servers: there is nothing to take back.")
		joinBackOut(p, r, false)
		return
	}
	p.para("", "On "+where(r)+", one command takes back every rule of this run that is still as it was left, and no other:")
	p.line("")
	confirmed := ""
	if slices.ContainsFunc(r.Servers, func(s record.Server) bool { return s.Phase == "joined" }) {
		confirmed = " --confirm-outage " + printable.Argument(r.Site.Name)
	}
	p.line("  preflight backout " + printable.Argument(typed(r)) + confirmed)
	p.line("")
	p.para("", fmt.Sprintf("Once a rim node has joined, taking the rules back cuts it off: the command then refuses, unless --confirm-outage %s is added. Take the node out of the site first.", r.Site.Name))
	joinBackOut(p, r, true)
	p.para("", "Without the program: on the server, in PowerShell, as administrator, paste the file named, or these lines. The file, which is written again when the rules are in, first compares each rule with what was added.")
	for _, s := range r.Servers {
		var lines []string
		for _, c := range slices.Backward(left) {
			if c.Server == s.Name {
				lines = append(lines, flat(c.Inverse))
			}
		}
		if len(lines) == 0 {
			continue
		}
		p.line("")
		p.line(s.Name + ", backout/" + s.Name + ".ps1:")
		for _, l := range lines {
			p.line(l)
		}
	}
	for _, c := range r.Plan.Changes {
		if Became(r, c).State == record.There {
			p.line("")
			p.para("", fmt.Sprintf("%s on %s was there before this run: it stays.", c.ID, c.Server))
		}
	}
}

func resultBlock(p *page, r record.Record) {
	p.block("Result")
	stands := standingOf(r)
	for i, l := range stands.lines() {
		if i > 0 {
			l.text = l.what + ": " + l.text
		}
		p.para("", l.text)
		if e := last(stands.at).Error; i == 0 && e != "" {
			p.para("  ", e)
		}
	}
	undoing := doing(stands.at) == "backout"
	if len(r.Plan.Changes) > 0 {
		p.line("")
		p.line("Rules")
		var rows []row
		for _, c := range r.Plan.Changes {
			done := Became(r, c)
			words, when := State(done, true), ""
			if done.EndedAt != nil {
				when = moment(*done.EndedAt)
			}
			if m := removal(r, done); m != nil && (undoing || m.State != record.NotTried) {
				words = removalState(m.State, m.Error)
				if m.State != record.Removed && m.State != record.Absent {
					words = State(done, true) + "; " + words
				}
				if m.EndedAt != nil {
					when = moment(*m.EndedAt)
				}
			} else if undoing && (done.State == record.Done || done.State == record.Started || done.State == record.InDoubt) {
				words += "; " + removalState("", "")
			} else if undoing && done.State == record.There {
				words += ", so it stays"
			}
			rows = append(rows, row{cells: []string{c.Server, checks.List(c.Ports, ","), words + after(": ", done.Error), when}})
		}
		p.grid("  ", rows)
	}
	if len(r.Plan.Unapproved) > 0 {
		p.line("")
		p.line("Wanted now, and not in the approved plan; none of these was added")
		var rows []row
		for _, c := range r.Plan.Unapproved {
			rows = append(rows, row{mark: "+ ", cells: []string{c.Server, checks.List(c.Ports, ","), From(c.From), Serves(c.Service, c.Why)}})
		}
		p.grid("  ", rows)
	}
	joinResult(p, r)
	flowsResult(p, r)
	var open []checks.Finding
	for _, f := range r.Findings {
		if f.Verdict != checks.Pass && f.Verdict != checks.NotApplicable {
			open = append(open, f)
		}
	}
	if len(open) > 0 {
		p.line("")
		p.line("Findings that are not pass")
		for _, f := range open {
			finding(p, f)
		}
	}
}

// flowsResult is the latest proof of each flow: by pair of nodes what is proven, and in full what is not.
func flowsResult(p *page, r record.Record) {
	latest := r.Tested()
	if len(latest) == 0 {
		return
	}
	f := tested(r)
	s := fmt.Sprintf("%d of %d proven", f.Proven, f.Total) + after(", ", counted(count{f.Failed, "failed"}, count{f.NotTested, "not tested"}))
	var when time.Time
	for _, q := range latest {
		if q.At.After(when) {
			when = q.At
		}
	}
	p.line("")
	p.para("", fmt.Sprintf("Flows: %s, the last at %s", s, moment(when)))
	var rows []row
	for i, q := range latest {
		if i > 0 && latest[i-1].From == q.From && latest[i-1].To == q.To {
			continue
		}
		proven := map[proof.Verdict][]uint16{}
		for _, o := range latest[i:] {
			if o.From == q.From && o.To == q.To && o.Verdict.Works() && o.Level == "proven" {
				proven[o.Verdict] = append(proven[o.Verdict], o.Port)
			}
		}
		for _, by := range []struct {
			verdict proof.Verdict
			words   string
		}{{proof.Service, "proven, the service answered"}, {proof.Answered, "proven, our listener answered"}, {proof.Translated, "proven, the source address is translated"}} {
			if ports := proven[by.verdict]; len(ports) > 0 {
				rows = append(rows, row{cells: []string{q.From + " -> " + q.To, by.words, checks.List(ports, " ")}})
			}
		}
	}
	p.grid("  ", rows)
	type open struct{ pair, verdict, why string }
	var order []open
	ports := map[open][]uint16{}
	for _, q := range latest {
		if q.Verdict.Works() && q.Level == "proven" {
			continue
		}
		why := SeenOf(q)
		if q.Cause != nil && *q.Cause != "" {
			why += "; cause: " + *q.Cause
		}
		if q.Owner != nil && *q.Owner != "" {
			why += "; owner: " + *q.Owner
		}
		o := open{q.From + " -> " + q.To, strings.ToUpper(checks.Words(q.Verdict)), why}
		if ports[o] == nil {
			order = append(order, o)
		}
		ports[o] = append(ports[o], q.Port)
	}
	rows = nil
	for _, o := range order {
		rows = append(rows, row{cells: []string{o.pair, o.verdict, checks.List(ports[o], " "), o.why}})
	}
	p.grid("  ", rows)
	if doing(r) == "verify" {
		p.line("")
		compared(p, r)
	}
}

func evidenceBlock(p *page, r record.Record, recordSHA256 string) {
	p.block("Evidence")
	var rows []row
	add := func(what, value string) { rows = append(rows, row{cells: []string{what, value}}) }
	if recordSHA256 != "" {
		add("record.json", "SHA-256 "+recordSHA256)
	}
	if r.Change.PlanSHA256 != "" {
		add("plan.json", "SHA-256 "+r.Change.PlanSHA256)
	}
	if a := r.Change.Approval; a != nil {
		add("approved", moment(a.At)+" by "+a.How+" "+a.Value)
	}
	for _, c := range r.Run.Commands {
		s := moment(c.StartedAt)
		if c.EndedAt != nil {
			s += " to " + moment(*c.EndedAt)
		}
		s += " by " + operator(c.Operator)
		if c.ExitCode != nil {
			s += fmt.Sprintf(", exit code %d", *c.ExitCode)
		}
		add(c.Name, s)
	}
	joinEvidence(add, r)
	add("program", strings.Join(strings.Fields(r.Tool.Name+" "+r.Tool.Version), " ")+after(", commit ", r.Tool.Commit))
	if r.Run.Simulated {
		add("servers", "simulated servers: nothing real was touched")
	}
	p.grid("", rows)
	if recordSHA256 != "" {
		p.para("", "Attach record.json: it holds each rule before and after, and each proof with what both ends saw. That the file attached is the one this run wrote is seen by the SHA-256 here.")
	}
}

func operator(o record.Operator) string {
	return cmp.Or(printable.Line(o.User), "an unknown user") + after(" on ", printable.Line(o.Host))
}

// moment is a time in UTC, to the second.
func moment(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// flow is a flow of the site, as far as the record names it.
type flow struct {
	from, to string
	port     uint16
}

// pair is the flows from one node to another.
type pair struct {
	from, to string
	flows    []flow
}

// dial is the same ports, dialled by each of some nodes on each of others.
type dial struct {
	from, to []string
	ports    []uint16
}

// dials are the flows, those of pairs together that differ only in one of their ends.
func dials(r record.Record) []dial {
	var all []dial
	for _, p := range pairsOf(r) {
		var ports []uint16
		for _, f := range p.flows {
			ports = append(ports, f.port)
		}
		i := slices.IndexFunc(all, func(d dial) bool {
			return slices.Equal(d.ports, ports) && (len(d.from) == 1 && d.from[0] == p.from || len(d.to) == 1 && d.to[0] == p.to)
		})
		switch {
		case i < 0:
			all = append(all, dial{[]string{p.from}, []string{p.to}, ports})
		case all[i].from[0] == p.from:
			all[i].to = append(all[i].to, p.to)
		default:
			all[i].from = append(all[i].from, p.from)
		}
	}
	return all
}

// pairsOf are the flows that the plan and the proofs speak of, by pair of nodes, in the order of the site file.
func pairsOf(r record.Record) []pair {
	index := map[string]int{}
	for i, n := range r.Site.Nodes {
		index[n.Name] = i
	}
	all := map[flow]bool{}
	add := func(f flow) {
		_, from := index[f.from]
		_, to := index[f.to]
		if from && to {
			all[f] = true
		}
	}
	named := func(why []string) {
		for _, w := range why {
			if m := flowForm.FindStringSubmatch(w); m != nil {
				n, _ := strconv.ParseUint(m[3], 10, 16)
				add(flow{m[1], m[2], uint16(n)})
			}
		}
	}
	for _, c := range r.Plan.Changes {
		named(c.Why)
	}
	for _, c := range r.Plan.Unapproved {
		named(c.Why)
	}
	for _, q := range r.Plan.Requests {
		named(q.Why)
	}
	// What is right already, or cannot be, names the address alone: whose it is, the node itself has said.
	addressed := func(server string, port uint16, address string) {
		for _, s := range r.Servers {
			if s.Facts == nil {
				continue
			}
			if q, ok := s.Facts.Peer(server); ok && q.Source.IsValid() && q.Source.String() == address {
				add(flow{s.Name, server, port})
			}
		}
	}
	for _, a := range r.Plan.Already {
		addressed(a.Server, a.Port, a.From)
	}
	for _, b := range r.Plan.Blocked {
		addressed(b.Server, b.Port, b.From)
	}
	for _, q := range r.Proofs {
		add(flow{q.From, q.To, q.Port})
	}
	var flows []flow
	for f := range all {
		flows = append(flows, f)
	}
	slices.SortFunc(flows, func(a, b flow) int {
		return cmp.Or(index[a.from]-index[b.from], index[a.to]-index[b.to], int(a.port)-int(b.port))
	})
	var pairs []pair
	for _, f := range flows {
		if n := len(pairs); n > 0 && pairs[n-1].from == f.from && pairs[n-1].to == f.to {
			pairs[n-1].flows = append(pairs[n-1].flows, f)
			continue
		}
		pairs = append(pairs, pair{f.from, f.to, []flow{f}})
	}
	return pairs
}

var flowForm = regexp.MustCompile(`^(\S+) -> (\S+) (\d+) `)
