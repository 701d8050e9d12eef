package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// taken is a rim that was taken through the join, as far as it came.
type taken struct {
	rim   string
	steps []record.Step // as they stand
	by    string        // who did the central node's part in the last attempt: certificate or hand
	since time.Time     // when the attempt began in which it came to run, or else the first one
}

// over tells whether nothing is left to do.
func (t taken) over() bool { return t.has(record.LastStep) && !slices.ContainsFunc(t.steps, open) }

// runs tells whether the rim has come to run.
func (t taken) runs() bool {
	return t.has(record.RunningStep) && !slices.ContainsFunc(t.steps, func(s record.Step) bool { return s.Step != record.LastStep && open(s) })
}

func (t taken) failed() bool {
	return slices.ContainsFunc(t.steps, func(s record.Step) bool { return s.State == record.StepFailed })
}

func (t taken) has(step string) bool {
	return slices.ContainsFunc(t.steps, func(s record.Step) bool { return s.Step == step })
}

func open(s record.Step) bool { return !s.State.Over() }

// takenEver are the rims that the run took through the join, in the order of the site file.
func takenEver(r record.Record) []taken {
	var all []taken
	for _, n := range r.Site.Nodes {
		t := taken{rim: n.Name}
		for _, s := range r.Join.Latest() {
			if s.Rim == n.Name {
				t.steps = append(t.steps, s)
			}
		}
		if len(t.steps) == 0 {
			continue
		}
		var began time.Time
		for _, s := range r.Join.Steps {
			if s.Rim != n.Name {
				continue
			}
			if s.Step == t.steps[0].Step {
				began = s.StartedAt
			}
			if t.since.IsZero() || s.Step == record.RunningStep && s.State.Over() {
				t.since = began
			}
			t.by = s.By
		}
		all = append(all, t)
	}
	return all
}

// takenNow are those that the last command took through it.
func takenNow(r record.Record) []taken {
	if doing(r) != "join" && doing(r) != "demo" {
		return nil
	}
	return only(takenEver(r), func(t taken) bool {
		return slices.ContainsFunc(r.Join.Steps, func(s record.Step) bool { return s.Rim == t.rim && !s.StartedAt.Before(last(r).StartedAt) })
	})
}

func rimsOf(all []taken) []string {
	var names []string
	for _, t := range all {
		names = append(names, t.rim)
	}
	return names
}

// each tells whether something holds of every one, and there is one.
func each(all []taken, holds func(taken) bool) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(t taken) bool { return !holds(t) })
}

// only are those of which something holds.
func only(all []taken, holds func(taken) bool) []taken {
	return slices.DeleteFunc(slices.Clone(all), func(t taken) bool { return !holds(t) })
}

// joining are the rims that the run is to join, or has, or has tried to.
func joining(r record.Record) []string {
	next, ever := toJoin(r), rimsOf(takenEver(r))
	var names []string
	for _, n := range r.Site.Nodes {
		if slices.Contains(next, n.Name) || slices.Contains(ever, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

// withProxy are those of some nodes that serve browsers.
func withProxy(r record.Record, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.Contains(strings.Split(servicesOf(r, name), ", "), "proxy")
	})
}

// servicesOf are what a node is given when it is created.
func servicesOf(r record.Record, name string) string {
	var all []string
	for _, n := range r.Site.Nodes {
		for _, s := range n.Services {
			if n.Name == name && s != "repository" {
				all = append(all, string(s))
			}
		}
	}
	return strings.Join(all, ", ")
}

func hostOf(r record.Record, name string) string {
	for _, n := range r.Site.Nodes {
		if n.Name == name {
			return cmp.Or(n.Host, n.Name)
		}
	}
	return name
}

// repositoryService is where the repository service of the central node is asked.
func repositoryService(r record.Record) string {
	if r.Join != nil && r.Join.QRS != "" {
		return r.Join.QRS
	}
	return cmp.Or(r.Site.Join.QRS, hostOf(r, central(r))+":4242")
}

// StepState is how far a step has come, in words.
func StepState(s record.StepState) string {
	switch s {
	case record.StepDone:
		return "done"
	case record.StepByHand:
		return "by hand"
	case record.StepLeft:
		return "left to do"
	case record.StepNeedless:
		return "not needed"
	case record.StepFailed:
		return "FAILED"
	case record.StepWait:
		return "waiting"
	}
	return "in doubt"
}

// stepSeen is what shows it.
func stepSeen(s record.Step) string {
	switch {
	case s.Seen != "":
		return s.Seen
	case s.State == record.StepWait:
		return "for a person: " + strings.Join(s.For, " ")
	case s.State == record.StepStart:
		return "its end was not seen"
	}
	return ""
}

func stepNumber(s record.Step) string { return "step " + s.Guide }

// broken breaks words that are longer than a line may be: what a server says may have any.
func broken(text string, width int) string {
	var words []string
	for word := range strings.SplitSeq(flat(text), " ") {
		for part := range slices.Chunk([]rune(word), width) {
			words = append(words, string(part))
		}
	}
	return strings.Join(words, " ")
}

// AskedWith says how the repository service was asked in a join, or that a person did that part.
func AskedWith(address string, c *record.ClientCertificate) string {
	switch {
	case address == "":
		return "by hand"
	case c == nil:
		return "the repository service at " + flat(address) + " asked"
	}
	return "the repository service at " + flat(address) + " asked with the certificate " + flat(c.Subject)
}

// joins are the rims that the last command took through the join, step by step.
func joins(p *page, r record.Record) {
	for _, t := range takenNow(r) {
		how := ", by hand"
		if t.by == "certificate" {
			how = ", " + AskedWith(r.Join.QRS, r.Join.Certificate)
		}
		const first = "join of "
		p.para(first, broken(t.rim+how, p.width-len(first)))
		var rows []row
		for _, s := range t.steps {
			rows = append(rows, row{cells: []string{StepState(s.State), s.Title, stepNumber(s)}})
		}
		seenUnder(p, rows, t.steps)
		p.grid("  ", rows)
		p.line("")
	}
}

// seenUnder puts under the row of each step what shows it, so that it begins with the second column.
func seenUnder(p *page, rows []row, steps []record.Step) {
	first := 0
	for _, x := range rows {
		first = max(first, len([]rune(flat(x.cells[0]))))
	}
	indent := strings.Repeat(" ", 2+first+2)
	for i, s := range steps {
		if seen := stepSeen(s); seen != "" {
			rows[i].under = wrapped(p, indent, broken(seen, max(20, p.width-len(indent))))
		}
	}
}

// joinWord is how a command ended that was to join rims, of which some are spoken of; "" if its exit code alone says it.
func joinWord(r record.Record, now []taken) string {
	switch r.Verdict.ExitCode {
	case record.ExitPassed, record.ExitFailed, record.ExitIncomplete:
	default:
		return ""
	}
	passed := r.Verdict.ExitCode == record.ExitPassed
	switch {
	case len(now) == 0 && doing(r) == "join", len(now) > 0 && !each(now, taken.runs):
		return "not joined"
	case passed && each(now, taken.over):
		return "joined"
	case passed && len(now) > 0:
		return "not finished" // a step is left to a person, and the rim runs without it
	}
	return ""
}

// joinSummary says of rims that they run, and how many of their flows are proven; "" if one does not, or the last command
// broke off.
func joinSummary(r record.Record, now []taken) string {
	if !each(now, taken.runs) || last(r).Error != "" {
		return ""
	}
	return joinedAre(r, now)
}

// joinedAre says it of rims that run.
func joinedAre(r record.Record, now []taken) string {
	s := listed(rimsOf(now)) + map[bool]string{true: " is running", false: " are running"}[len(now) == 1]
	for _, t := range now {
		for _, step := range t.steps {
			if open(step) {
				on := ""
				if len(now) > 1 {
					on = "for " + t.rim + " "
				}
				s += fmt.Sprintf("; %s%s is %s (%s)", on, stepNumber(step), StepState(step.State), step.Title)
			}
		}
	}
	before, after, known := flowsOfJoin(r, now)
	whose := ""
	if len(now) < len(rimNames(r)) {
		whose = map[bool]string{true: "its ", false: "their "}[len(now) == 1]
	}
	s += fmt.Sprintf("; %d of %s%d flows proven by the real services", after.Proven, whose, after.Total)
	separator := ", "
	if more := counted(count{after.Failed, "failed"}, count{after.NotTested, "not tested"}); more != "" {
		s, separator = s+", "+more, "; "
	}
	if known {
		s += fmt.Sprintf("%s%d of %d before the join", separator, before.Proven, before.Total)
	}
	switch v := r.Verdict; {
	case v.Failed > 0 && after.Failed == 0:
		s += "; " + checks.Count(v.Failed, "check", "checks") + " failed"
	case v.Unknown > 0 && after.Failed+after.NotTested == 0:
		s += "; " + checks.Count(v.Unknown, "check", "checks") + " unknown"
	}
	return s
}

func rimNames(r record.Record) []string {
	var names []string
	for _, n := range r.Site.Nodes {
		if n.Role == "rim" {
			names = append(names, n.Name)
		}
	}
	return names
}

// flowsOfJoin counts the flows of rims that were joined, before it and at its close-out. At the close-out only the real
// services count; a flow to another rim that was not tried there is one of that rim's own close-out. known tells whether what
// was proven before it is known still: a later command may have proven it again.
func flowsOfJoin(r record.Record, now []taken) (before, after record.Flows, known bool) {
	names, again := rimsOf(now), false
	for _, f := range proofOfEach(r) {
		var start time.Time
		for _, t := range now {
			if (t.rim == f.From || t.rim == f.To) && (start.IsZero() || t.since.Before(start)) {
				start = t.since
			}
		}
		if !slices.Contains(names, f.From) && !slices.Contains(names, f.To) {
			continue
		}
		var was, is proof.Proof
		lost := false
		for _, q := range r.Proofs {
			switch {
			case q.From != f.From || q.To != f.To || q.Port != f.Port:
			case q.Phase == proof.CloseOut && !q.At.Before(start) && !addedSince(r, q):
				is = q
			case (q.Phase == proof.AfterApply || q.Phase == proof.Verify) && q.At.Before(start) && !addedSince(r, q) && q.Verdict != proof.NotTested && !q.At.Before(was.At):
				was = q
			case q.Phase == proof.AfterApply || q.Phase == proof.Verify:
				lost = lost || q.At.IsZero() || !q.At.Before(start)
			}
		}
		if is.ID == "" && !slices.Contains(names, f.To) && slices.Contains(rimNames(r), f.To) {
			continue // it waits for the other rim to be joined
		}
		before.Total++
		after.Total++
		if proven(was) {
			before.Proven++
		} else {
			again = again || lost
		}
		switch {
		case is.Verdict.Fails():
			after.Failed++
		case proven(is) && is.Verdict != proof.Answered:
			after.Proven++
		}
	}
	if len(names) == len(rimNames(r)) {
		before.Total = max(before.Total, r.Verdict.Flows.Total)
		after.Total = before.Total
	}
	after.NotTested = after.Total - after.Proven - after.Failed
	return before, after, !again
}

// addedSince tells whether the run has added a rule to the target of a proof since: the proof is of rules that were taken back.
func addedSince(r record.Record, q proof.Proof) bool {
	return slices.ContainsFunc(r.Changes, func(c record.Change) bool {
		return c.Server == q.To && c.State == record.Done && c.EndedAt != nil && c.EndedAt.After(q.At)
	})
}

func proven(q proof.Proof) bool { return q.Verdict.Works() && q.Level == "proven" }

// describeJoin is what the short description says of the join: and follows on what was opened, more is for the end of it.
func describeJoin(r record.Record, most int) (and, more string) {
	ever := takenEver(r)
	next := toJoin(r)
	nodes := rims(r)
	s := standingOf(r)
	passed := s.at.Verdict.Passed && (s.verified == nil || s.verified.Verdict.Passed)
	and = " for " + rimNodes(nodes, most)
	joined := only(ever, taken.over)
	switch {
	case len(ever) == 0 && !tried(r) && len(next) == len(nodes):
		return " and join " + rimNodes(next, most), ""
	case len(ever) == 0 && !tried(r) && len(next) > 0:
		return and + " and join " + rimNodes(next, most), ""
	case len(joined) == len(ever) && len(joined) >= len(nodes):
		return " and joined " + rimNodes(rimsOf(joined), most), ""
	case len(ever) == 0 && len(next) > 0 && passed && !undone(r):
		return and, "; join still to come"
	}
	say := func(before string, which []taken, after string) {
		names := listed(rimsOf(which))
		if len(which) > most {
			names = fmt.Sprint(len(which))
		}
		if len(which) > 0 {
			more += "; " + before + names + after
		}
	}
	say("joined ", joined, "")
	rest := only(ever, func(t taken) bool { return !t.over() })
	say("", only(rest, taken.runs), " running, join not finished")
	rest = only(rest, func(t taken) bool { return !t.runs() })
	say("join of ", only(rest, taken.failed), " FAILED")
	say("join of ", only(rest, func(t taken) bool { return !t.failed() }), " NOT finished")
	return and, more
}

// joinSummaryBlock says in the ticket's summary that the run joins rims, or has.
func joinSummaryBlock(p *page, r record.Record) {
	names := joining(r)
	if len(names) == 0 {
		return
	}
	it, them, begins := "it", "it", "Then the "
	if len(names) > 1 {
		it, them = "each", "them"
	}
	if len(r.Plan.Changes) == 0 {
		begins = "The "
	}
	s := begins + rimNodesAre(names) + " joined to the site, in the steps of the guide: a node is created for " + it + ", and the central node sends " + it + " a certificate, which is unlocked there."
	if serving := withProxy(r, names); len(serving) > 0 {
		if len(serving) < len(names) {
			them = rimNodes(serving, 4)
		}
		s += " For " + them + " to serve browsers, the default virtual proxy is changed."
	}
	p.para("", s)
}

// joinRisk are the risks of the join.
func joinRisk(item func(string), r record.Record) {
	names := joining(r)
	if len(names) == 0 {
		return
	}
	if len(withProxy(r, names)) > 0 {
		item("In step 9 of the join the default virtual proxy is changed. That may end the sessions of people who work in Qlik Sense then.")
	}
	item("The join begins only when no check fails and the central node is proven to reach the rim. It can be run again where it stopped; taking it back is done by hand, as the back-out plan says.")
}

// workstation is where the commands are typed.
func workstation(r record.Record) string {
	return cmp.Or(printable.Line(last(r).Operator.Host), "the administrator's workstation")
}

// where is where the commands are typed that name the run as the last one did: its name alone is one below preflight-runs.
func where(r record.Record) string {
	if strings.ContainsAny(typed(r), `/\`) {
		return workstation(r)
	}
	return workstation(r) + ", in the folder that holds preflight-runs"
}

// joinPlan is the join as a step of the implementation plan. first stands before it, such as a number.
func joinPlan(p *page, r record.Record, first string) {
	names := joining(r)
	if len(names) == 0 {
		return
	}
	hanging := strings.Repeat(" ", len(first))
	p.para(first, fmt.Sprintf("When the test has passed, the %s joined to the site. On %s, type:", rimNodesAre(names), workstation(r)))
	p.line("")
	for _, name := range names {
		p.line(hanging + "  preflight join " + printable.Argument(typed(r)) + " --rim " + printable.Argument(name))
	}
	p.line("")
	p.para(hanging, "The program looks at the servers once more, proves the flows, and begins nothing while a check fails. It then goes through the steps of the guide and ends with the close-out test. These a person does in the QMC, when the program says so:")
	item := func(s string) { p.para(hanging+"- ", s) }
	item("Step 1-3: create a node as listed below.")
	item("Step 4-5: the central node sends the certificate, and the QMC shows a one-time password. Type that into the program: it unlocks the certificate on the rim (step 6-7) and waits until the rim runs (step 8).")
	if len(withProxy(r, names)) > 0 {
		item("Step 9: in the default virtual proxy, add the node to the load balancing nodes, and its host name to the host allow list. Saving that may end people's sessions.")
	}
	var rows []row
	for _, name := range names {
		rows = append(rows, row{cells: []string{"name " + name, "host name " + hostOf(r, name), cmp.Or(servicesOf(r, name), "no service ticked")}})
	}
	p.grid(hanging+"  ", rows)
	p.para(hanging, "With --qrs-auth certificate --qrs-cert client.pem --qrs-key client_key.pem the program does these steps itself, with the site's client certificate. That certificate has full administrator rights in Qlik Sense; it stays on the workstation.")
	p.para(hanging, "It then asks the repository service of the central node at "+flat(repositoryService(r))+", which has to be open to the workstation: this change does not open it.")
}

// joinMonitoring is what those who watch the servers see of a join.
func joinMonitoring(item func(string), r record.Record) {
	if len(joining(r)) > 0 {
		item("During a join: on the rim node, powershell.exe asks that server's own ports 4444 and 4570; with the client certificate also requests over TLS from the workstation to " + flat(repositoryService(r)) + ".")
	}
}

// joinBackOut says how a join is taken back; rules tells whether there are rules to take back after it.
func joinBackOut(p *page, r record.Record, rules bool) {
	if len(joining(r)) == 0 {
		return
	}
	const s = "Taking a join back is not automated: after a join, first take the rim node out of the virtual proxy's load balancing nodes and host allow list, then delete the node in the QMC"
	p.para("", s+map[bool]string{true: ", then take the rules back.", false: "."}[rules])
}

// joinResult is what became of each step of each join.
func joinResult(p *page, r record.Record) {
	ever := takenEver(r)
	if len(ever) == 0 {
		return
	}
	p.line("")
	p.line("Join")
	var rows []row
	var steps []record.Step
	for _, t := range ever {
		for _, s := range t.steps {
			when := s.StartedAt
			if s.EndedAt != nil {
				when = *s.EndedAt
			}
			rows = append(rows, row{cells: []string{t.rim, stepNumber(s), s.Title, StepState(s.State), moment(when)}})
			steps = append(steps, s)
		}
	}
	seenUnder(p, rows, steps)
	p.grid("  ", rows)
}

// joinEvidence says with whose rights rims were joined.
func joinEvidence(add func(what, value string), r record.Record) {
	if r.Join == nil {
		return
	}
	by := map[string][]string{}
	for _, s := range r.Join.Steps {
		if !slices.Contains(by[s.By], s.Rim) {
			by[s.By] = append(by[s.By], s.Rim)
		}
	}
	if c := r.Join.Certificate; c != nil && len(by["certificate"]) > 0 {
		add("client certificate", broken(fmt.Sprintf(`%s, SHA-256 %s, until %s, as INTERNAL\sa_repository at %s, for %s`,
			c.Subject, c.SHA256, c.NotAfter.UTC().Format(time.DateOnly), r.Join.QRS, listed(by["certificate"])), 70))
	}
	if len(by["hand"]) > 0 {
		add("joined by hand", broken(listed(by["hand"]), 70))
	}
}
