package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// Options say how much is shown.
type Options struct {
	Verbose bool // also what passed, and the PowerShell of each rule
}

// Text is what the run's last command found and did, for a terminal of 80 columns or a log: plain words, no colour, and of
// what came from servers nothing that acts.
func Text(r record.Record, o Options) []byte {
	p := &page{width: 80}
	heading(p, r)
	servers(p, r)
	switch doing(r) {
	case "plan":
		rules(p, r, o.Verbose)
		everyRule(p, r, o.Verbose)
	case "verify":
		flows(p, r)
		if compared(p, r) {
			p.line("")
		}
	case "join":
		if o.Verbose {
			rules(p, r, true)
		}
		joins(p, r)
		flows(p, r)
	case "backout":
		removals(p, r, o.Verbose)
	default:
		rules(p, r, o.Verbose)
		unapproved(p, r, o.Verbose)
		joins(p, r)
		flows(p, r)
	}
	findings(p, r, o.Verbose)
	p.para("", Outcome(r))
	return p.done()
}

func heading(p *page, r record.Record) {
	line := fmt.Sprintf("%s, release %s, %s.", r.Site.Name, r.Site.Release, checks.Count(len(r.Site.Nodes), "node", "nodes"))
	var more []string
	if doing(r) == "check" {
		more = append(more, "check changes nothing on the servers.")
	}
	if r.Run.Simulated {
		more = append(more, "Simulated servers: nothing real was touched.")
	}
	for _, s := range more {
		if len([]rune(line))+1+len(s) > p.width {
			p.para("", line)
			line = s
			continue
		}
		line += " " + s
	}
	p.para("", line)
	p.line("")
}

func servers(p *page, r record.Record) {
	var rows []row
	for _, s := range r.Servers {
		x := row{cells: []string{s.Name, "not tried", ""}}
		switch {
		case s.Failure != nil:
			x.cells[1] = "FAILED: " + strings.TrimPrefix(s.Failure.Error, s.Name+": ")
		case s.SignIn != nil:
			x.cells[1], x.cells[2] = SignedIn(*s.SignIn), Seconds(s.SignIn.MS)
		}
		rows = append(rows, x)
	}
	p.grid("", rows)
	p.line("")
}

// SignedIn is a sign-in in words.
func SignedIn(s record.SignIn) string {
	auth := cmp.Or(map[string]string{"basic": "Basic", "ntlm": "NTLM", "kerberos": "Kerberos", "certificate": "client certificate"}[s.Auth], s.Auth)
	words := []string{s.User, auth, s.Transport}
	switch {
	case s.Transport == "https" && s.Identity != "":
		words = append(words, "certificate "+s.Identity)
	case s.Protection != "":
		words = append(words, s.Protection)
	}
	return strings.Join(words, ", ")
}

// rules are, by server, the difference between what is there and what is wanted: + added or to add, = right already, ! no
// rule of ours would help. Servers of which the very same is to be said share it.
func rules(p *page, r record.Record, verbose bool) {
	type section struct {
		names      []string
		head, body string
	}
	var all []section
	for _, s := range r.Servers {
		head, body := difference(p.width, r, s.Name, verbose)
		if head == "" {
			continue
		}
		if i := slices.IndexFunc(all, func(o section) bool { return o.head == head && o.body == body }); i >= 0 {
			all[i].names = append(all[i].names, s.Name)
			continue
		}
		all = append(all, section{[]string{s.Name}, head, body})
	}
	for _, s := range all {
		if len(s.names) == 1 {
			p.para(s.names[0]+"  ", s.head)
		} else {
			p.para("", listed(s.names)+", each: "+s.head)
		}
		p.WriteString(s.body)
		p.line("")
	}
}

// difference is a server's part of it: how much there is of what, and the rows; "" for a server without any.
func difference(width int, r record.Record, server string, verbose bool) (head, body string) {
	p := &page{width: width}
	applying := doing(r) == "apply" || doing(r) == "demo"
	changes := planned(r, server)
	var words []string
	for _, c := range changes {
		words = append(words, State(Became(r, c), applying))
	}
	rows := changeRows(p, r, changes, verbose)
	if len(slices.Compact(slices.Clone(words))) > 1 {
		for i := range rows {
			rows[i].cells = append(rows[i].cells, words[i])
		}
	}
	for i, c := range changes {
		if done := Became(r, c); done.Error != "" {
			rows[i].under = append(wrapped(p, "      ", done.Error), rows[i].under...)
		}
	}
	// What the run itself has added stands in the rows above.
	already := alreadyRows(slices.DeleteFunc(slices.Clone(r.Plan.Already), func(a record.PlannedRelied) bool {
		return slices.ContainsFunc(r.Changes, func(c record.Change) bool { return c.Server == a.Server && c.ID == a.By })
	}), server, verbose)
	for range already {
		words = append(words, "right already")
	}
	blocked, why := blockedRows(r, server)
	for range blocked {
		words = append(words, "VOID")
	}
	p.grid("  ", slices.Concat(rows, already, blocked))
	for _, w := range why {
		p.para("    ", w.label(len(why))+": "+w.why)
	}
	if s := Requests(r, server); s != "" {
		p.para("    ", s)
	}
	return tally(words), p.String()
}

// tally is "3 to add, 1 right already", in the order in which they come.
func tally(words []string) string {
	var all []count
	for _, w := range words {
		if i := slices.IndexFunc(all, func(c count) bool { return c.what == w }); i >= 0 {
			all[i].n++
			continue
		}
		all = append(all, count{1, w})
	}
	var parts []string
	separator := ", "
	for _, c := range all {
		parts = append(parts, counted(c))
		if strings.Contains(c.what, ",") {
			separator = "; "
		}
	}
	return strings.Join(parts, separator)
}

// changeRows are the rules to add on one server.
func changeRows(p *page, r record.Record, changes []record.PlannedChange, verbose bool) []row {
	_, same := profiles(r)
	var rows []row
	for _, c := range changes {
		x := row{mark: "+ ", cells: []string{checks.List(c.Ports, ","), From(c.From), Serves(c.Service, c.Why)}}
		if !same {
			x.cells = append(x.cells, "profile "+c.Profiles.String())
		}
		for _, n := range notes(c.Why) {
			x.under = append(x.under, wrapped(p, "      ", n)...)
		}
		if verbose {
			x.under = append(x.under, "      "+flat(c.PowerShell), "      undo  "+flat(c.Inverse))
		}
		rows = append(rows, x)
	}
	return rows
}

// wrapped is text as lines after an indent.
func wrapped(p *page, indent, text string) []string {
	var lines []string
	for _, line := range wrap(flat(text), p.width-len(indent)) {
		lines = append(lines, indent+line)
	}
	return lines
}

// profiles are those of the plan's rules, and whether they are the same for all.
func profiles(r record.Record) (s string, same bool) {
	for i, c := range r.Plan.Changes {
		if i > 0 && c.Profiles.String() != s {
			return "", false
		}
		s = c.Profiles.String()
	}
	return s, true
}

func everyRule(p *page, r record.Record, verbose bool) {
	if len(r.Plan.Changes) == 0 {
		return
	}
	s := EveryRule(r)
	if !verbose {
		s += " -v shows each one's PowerShell and its undo."
	}
	p.para("", s)
	p.line("")
}

// EveryRule is what the plan's rules have in common.
func EveryRule(r record.Record) string {
	s := "Every rule: inbound, allow, TCP"
	if in, same := profiles(r); same && strings.Contains(in, ",") {
		s += ", profiles " + in
	} else if same {
		s += ", profile " + in
	}
	return s + "."
}

// sourced gathers the sources of ports, so that ports with the same ones share a row.
type sourced struct {
	ports   []uint16
	sources map[uint16][]string
}

func (s *sourced) add(port uint16, source string) {
	if s.sources == nil {
		s.sources = map[uint16][]string{}
	}
	if s.sources[port] == nil {
		s.ports = append(s.ports, port)
	}
	if !slices.Contains(s.sources[port], source) {
		s.sources[port] = append(s.sources[port], source)
	}
}

// rows are the ports with their sources.
func (s *sourced) rows(mark string, more ...string) []row {
	var order []string
	shared := map[string][]uint16{}
	slices.Sort(s.ports)
	for _, port := range s.ports {
		sources := From(s.sources[port])
		if shared[sources] == nil {
			order = append(order, sources)
		}
		shared[sources] = append(shared[sources], port)
	}
	var rows []row
	for _, sources := range order {
		rows = append(rows, row{mark: mark, cells: append([]string{checks.List(shared[sources], ","), sources}, more...)})
	}
	return rows
}

// alreadyRows are what is right already on a server, by the rule that makes it so.
func alreadyRows(relied []record.PlannedRelied, server string, verbose bool) []row {
	var order []string
	all := map[string]*sourced{}
	for _, a := range relied {
		if a.Server != server {
			continue
		}
		by := ReliedOn(a)
		if verbose && a.Ours {
			by += ", " + printable.Line(a.By)
		}
		if all[by] == nil {
			order = append(order, by)
			all[by] = &sourced{}
		}
		all[by].add(a.Port, a.From)
	}
	var rows []row
	for _, by := range order {
		rows = append(rows, all[by].rows("= ", by)...)
	}
	return rows
}

// ReliedOn names the rule that makes something right already, or says what does.
func ReliedOn(a record.PlannedRelied) string {
	switch {
	case a.By == "":
		return printable.Line(a.Why)
	case a.Ours:
		return "by a rule of ours"
	}
	return fmt.Sprintf("by %q, not ours", printable.Line(cmp.Or(a.Name, a.By)))
}

// obstacle is a reason why ports cannot be opened.
type obstacle struct {
	ports []uint16
	why   string
}

// label is the ports, where there is more than one obstacle.
func (o obstacle) label(of int) string {
	if of == 1 {
		return "void"
	}
	return checks.List(o.ports, " ") + " void"
}

// blockedRows are what no rule of ours would open on a server, and why.
func blockedRows(r record.Record, server string) (rows []row, why []obstacle) {
	var order []string
	all := map[string]*sourced{}
	for _, v := range r.Plan.Blocked {
		if v.Server != server {
			continue
		}
		if all[v.Service] == nil {
			order = append(order, v.Service)
			all[v.Service] = &sourced{}
		}
		all[v.Service].add(v.Port, v.From)
		reason := StandsAgainst(v)
		i := slices.IndexFunc(why, func(o obstacle) bool { return o.why == reason })
		if i < 0 {
			i = len(why)
			why = append(why, obstacle{why: reason})
		}
		if !slices.Contains(why[i].ports, v.Port) {
			why[i].ports = append(why[i].ports, v.Port)
			slices.Sort(why[i].ports)
		}
	}
	for _, service := range order {
		rows = append(rows, all[service].rows("! ", service+": void")...)
	}
	return rows, why
}

// StandsAgainst is why something cannot be opened, without the sources, which stand beside it.
func StandsAgainst(v record.PlannedVoid) string {
	return printable.Line(strings.TrimPrefix(v.Why, "no rule that counts admits "+v.From+": "))
}

// Requests says which ports of a server others are asked to open, and where; "" for none.
func Requests(r record.Record, server string) string {
	var ports []uint16
	var who []string
	for _, t := range teams {
		for _, q := range r.Plan.Requests {
			if q.Server == server && q.Store == t.store {
				ports = append(ports, q.Ports...)
				if !slices.Contains(who, t.team) {
					who = append(who, t.team)
				}
			}
		}
	}
	if len(ports) == 0 {
		return ""
	}
	slices.Sort(ports)
	return "gpo-request.txt asks " + listed(who) + " for " + checks.List(slices.Compact(ports), " ")
}

// unapproved are the rules that planning again wanted, before apply.
func unapproved(p *page, r record.Record, verbose bool) {
	if len(r.Plan.Unapproved) == 0 {
		return
	}
	s := "NOT in the approved plan, but wanted now; nothing was added:"
	if r.Verdict.ExitCode != record.ExitDrift {
		s = "NOT in the approved plan, but wanted now; none of these was added:"
	}
	p.para("", s)
	for _, server := range r.Servers {
		var mine []record.PlannedChange
		for _, c := range r.Plan.Unapproved {
			if c.Server == server.Name {
				mine = append(mine, c)
			}
		}
		if len(mine) > 0 {
			p.line(server.Name)
			p.grid("  ", changeRows(p, r, mine, verbose))
		}
	}
	p.line("")
}

// shown are the phases whose proofs a command shows.
func shown(command string) []proof.Phase {
	switch command {
	case "verify":
		return []proof.Phase{proof.Verify}
	case "join":
		return []proof.Phase{proof.Verify, proof.CloseOut}
	case "demo":
		return []proof.Phase{proof.Baseline, proof.AfterApply, proof.CloseOut}
	}
	return []proof.Phase{proof.Baseline, proof.AfterApply}
}

// flows are the flows by pair of nodes, each with the verdict of every phase that was run. verify is about its own, and join
// about those that it ran itself.
func flows(p *page, r record.Record) {
	by := map[string]proof.Proof{}
	for _, q := range r.Proofs {
		if doing(r) != "join" || !q.At.Before(last(r).StartedAt) {
			by[q.ID] = q
		}
	}
	var phases []proof.Phase
	for _, phase := range shown(doing(r)) {
		for _, q := range by {
			if q.Phase == phase {
				phases = append(phases, phase)
				break
			}
		}
	}
	if len(phases) == 0 {
		return
	}
	latest := proofOfEach(r)
	for i, first := range latest {
		if i > 0 && latest[i-1].From == first.From && latest[i-1].To == first.To {
			continue
		}
		var rows []row
		dialled := false
		if len(phases) > 1 {
			header := row{cells: []string{"port", "service"}}
			for _, phase := range phases {
				header.cells = append(header.cells, strings.ReplaceAll(string(phase), "_", " "))
			}
			rows = append(rows, header)
		}
		for _, q := range latest[i:] {
			if q.From != first.From || q.To != first.To {
				break
			}
			x := row{cells: []string{fmt.Sprint(q.Port), q.Service}}
			seen := ""
			for _, phase := range phases {
				now, ok := by[strings.Replace(q.ID, string(q.Phase), string(phase), 1)]
				x.cells = append(x.cells, cmp.Or(checks.Words(now.Verdict), "-"))
				if ok {
					seen, dialled = SeenOf(now), true
				}
			}
			x.cells = append(x.cells, seen)
			rows = append(rows, x)
		}
		if !dialled {
			continue
		}
		p.line(first.From + " -> " + first.To)
		p.grid("  ", rows)
		p.line("")
	}
	others := 0
	for _, f := range r.Flows() {
		if !slices.ContainsFunc(phases, func(phase proof.Phase) bool { _, ok := by[proof.ID(phase, f)]; return ok }) {
			others++
		}
	}
	if doing(r) == "join" && others > 0 {
		p.para("", checks.Count(others, "flow was", "flows were")+" not dialled: what is proven of "+map[bool]string{true: "it", false: "them"}[others == 1]+" stays as it was.")
		p.line("")
	}
}

// proofOfEach is some proof of each flow that was ever tried, the flows of a pair of nodes together.
func proofOfEach(r record.Record) []proof.Proof {
	var out []proof.Proof
	for _, q := range r.Proofs {
		if !slices.ContainsFunc(out, func(o proof.Proof) bool { return o.From == q.From && o.To == q.To && o.Port == q.Port }) {
			out = append(out, q)
		}
	}
	return out
}

// SeenOf is what happened to a flow. One that works but was seen by one end alone is not proven.
func SeenOf(q proof.Proof) string {
	if q.Verdict.Works() && q.Level != "proven" {
		return q.Seen + "; seen by one end alone, so not proven"
	}
	return q.Seen
}

// compared is what a verify found different from the proofs before; it tells whether it wrote anything.
func compared(p *page, r record.Record) bool {
	var rows []row
	for _, c := range r.Verified {
		if c.Change == "new" || c.Change == "fixed" || c.Change == "changed cause" {
			was := "was " + checks.Words(c.Was) + ", now " + checks.Words(c.Now)
			if c.Was == c.Now {
				was = checks.Words(c.Now) + " as before, for another reason"
			}
			rows = append(rows, row{cells: []string{c.Change, fmt.Sprintf("%s -> %s", c.From, c.To), fmt.Sprintf("%d %s", c.Port, c.Service), was}})
		}
	}
	s := Compared(r)
	if s == "" {
		return false
	}
	p.para("", s)
	p.grid("  ", rows)
	return true
}

// Compared counts what a verify found different from the proofs before; "" if it compared nothing.
func Compared(r record.Record) string {
	number := map[string]int{}
	for _, c := range r.Verified {
		number[c.Change]++
	}
	first := 0
	for _, q := range r.Proofs {
		if q.Phase == proof.Verify && q.Verdict != proof.NotTested && !slices.ContainsFunc(r.Verified, func(c record.Compared) bool { return c.From == q.From && c.To == q.To && c.Port == q.Port }) {
			first++
		}
	}
	s := counted(counts(number["new"], "new failure", "new failures"), count{number["fixed"], "fixed"}, count{number["changed cause"], "with a changed cause"},
		count{number["unchanged"], "unchanged"}, count{number["not comparable"], "not comparable"}, count{first, "with no proof to compare with"})
	return after("since the last proofs: ", s)
}

// removals are what became of taking the run's rules back, and what stays because it was there before.
func removals(p *page, r record.Record, verbose bool) {
	rows := removalRows(r)
	if len(rows) == 0 {
		p.line("this run has added no rule")
	}
	if verbose {
		for i := range rows {
			rows[i].under = nil
			if m := rows[i].removal; m != nil && m.Found != nil {
				rows[i].under = []string{"      left as  " + flat(m.Was), "      found    " + flat(*m.Found)}
			}
		}
	}
	var plain []row
	for _, x := range rows {
		plain = append(plain, x.row)
	}
	p.grid("", plain)
	p.line("")
}

type removalRow struct {
	row
	removal *record.Removal
}

// removalRows are one for each rule of the plan that is, was or may be on a server.
func removalRows(r record.Record) []removalRow {
	var rows []removalRow
	for _, c := range r.Plan.Changes {
		if what, m := Undone(r, c); what != "" {
			rows = append(rows, removalRow{row{cells: []string{c.Server, checks.List(c.Ports, ","), what}}, m})
		}
	}
	return rows
}

// Undone is what became of taking a change back, in words, and its last removal, nil if none was tried; "" if there is
// nothing to take back.
func Undone(r record.Record, c record.PlannedChange) (string, *record.Removal) {
	done := Became(r, c)
	m := removal(r, done)
	switch {
	case done.State == record.There:
		return "stays: it was there before this run", m
	case done.State == record.TakenBack && m != nil && m.StartedAt.Before(last(r).StartedAt):
		return "was taken back before", m
	case m != nil:
		return removalState(m.State, m.Error), m
	case done.State == record.Done || done.State == record.Started || done.State == record.InDoubt:
		return removalState("", ""), nil
	case done.State == record.TakenBack:
		return "taken back", nil
	}
	return "", m
}

// findings shows what is not right, with what to do; what passed is counted. A failure that the plan mends is none.
func findings(p *page, r record.Record, verbose bool) {
	passed, none := 0, 0
	for _, f := range r.Findings {
		switch {
		case Mended(r, f):
			continue
		case f.Verdict == checks.Pass:
			passed++
		case f.Verdict == checks.NotApplicable:
			none++
		default:
			finding(p, f)
		}
	}
	if verbose {
		var rows []row
		for _, f := range r.Findings {
			if word := map[checks.Verdict]string{checks.Pass: "PASS", checks.NotApplicable: "N/A"}[f.Verdict]; word != "" {
				rows = append(rows, row{mark: pad(word, 9), cells: []string{f.Check, f.Server, f.Seen}})
			}
		}
		p.grid("", rows)
	} else if passed+none > 0 {
		p.line("PASS     " + cmp.Or(counted(counts(passed, "check", "checks"), count{none, "not applicable"})) + " (-v lists them)")
	}
	if len(r.Findings) > 0 {
		p.line("")
	}
}

// Mended tells whether a finding is what the plan that was just made is for.
func Mended(r record.Record, f checks.Finding) bool {
	return doing(r) == "plan" && f.Check == "firewall.rule-missing" && r.Change.PlanSHA256 != ""
}

func finding(p *page, f checks.Finding) {
	const indent = "         "
	p.line(fmt.Sprintf("%-7s  %-23s  %s", strings.ToUpper(string(f.Verdict)), flat(f.Check), flat(f.Server)))
	p.para(indent, f.Seen)
	if f.Cause != "" && f.Cause != f.Seen {
		p.para(indent+"cause: ", f.Cause)
	}
	switch {
	case f.Remedy != "":
		p.advice(indent+cmp.Or(printable.Line(f.Owner), "you")+": ", f.Remedy)
	case f.Owner != "" && f.Owner != "you":
		p.para(indent+"owner: ", f.Owner)
	}
	if f.Waived != nil {
		p.para(indent+"waived: ", *f.Waived)
	}
}
