package reports

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
)

// doing is the name of the command that runs or ran last.
func doing(r record.Record) string { return last(r).Name }

// typed is the run as it is named on a command line.
func typed(r record.Record) string { return cmp.Or(last(r).Run, r.Run.ID) }

func last(r record.Record) record.Command {
	if n := len(r.Run.Commands); n > 0 {
		return r.Run.Commands[n-1]
	}
	return record.Command{}
}

// Named is the run as somebody types it behind a command.
func Named(r record.Record) string { return printable.Argument(typed(r)) }

// Word is how the last command ended, in one or two words.
func Word(r record.Record) string { return word(r, takenNow(r)) }

// word is it where some rims are spoken of.
func word(r record.Record, which []taken) string {
	if c := last(r); c.Name != "" && c.EndedAt == nil {
		return "cut off"
	}
	if s := joinWord(r, which); s != "" {
		return s
	}
	undoing := doing(r) == "backout"
	switch r.Verdict.ExitCode {
	case record.ExitPassed:
		return cmp.Or(map[string]string{"plan": "planned", "backout": "taken back"}[doing(r)], "ready")
	case record.ExitInternal:
		return "failed"
	case record.ExitUsage:
		return "refused"
	case record.ExitPartly:
		if undoing {
			return "partly taken back"
		}
		return "partly applied"
	case record.ExitCancelled:
		return "cancelled"
	case record.ExitIncomplete:
		return "incomplete"
	case record.ExitConnect:
		return "not connected"
	case record.ExitDrift:
		if !undoing {
			return "not applied"
		}
	}
	if undoing {
		return "not taken back"
	}
	return "not ready"
}

// Outcome is how the last command ended, in one line.
func Outcome(r record.Record) string { return outcome(r, takenNow(r)) }

// outcome is it where some rims are spoken of.
func outcome(r record.Record, which []taken) string {
	if doing(r) == "backout" && word(r, which) == "taken back" {
		return summary(r, which)
	}
	return word(r, which) + ": " + summary(r, which)
}

func summary(r record.Record, which []taken) string {
	v := r.Verdict
	if s := joinSummary(r, which); s != "" {
		return s
	}
	switch doing(r) {
	case "verify":
		return v.Summary + after("; ", takenBackOn(r))
	case "check":
		if last(r).Error != "" {
			break
		}
		flows := checks.Count(v.Flows.Total, "flow", "flows") + ": " + counted(count{v.Flows.Proven, "proven"}, count{v.Flows.Failed, "failed"}, count{v.Flows.NotTested, "not tested"})
		return cmp.Or(counted(count{v.Failed, "failed"}, counts(v.Warnings, "warning", "warnings"), count{v.Unknown, "unknown"}), "nothing failed") + ". " + flows + "."
	case "apply", "demo":
		p := progressOf(r)
		drift := len(r.Plan.Unapproved)
		switch {
		case v.ExitCode == record.ExitPartly && !strings.Contains(v.Summary, "rules are in"):
			more := counted(count{p.notNeeded, "not needed any more"}, count{p.doubt, "in doubt"})
			return fmt.Sprintf("%d of %s in%s; %s", p.added+p.there, checks.Count(p.all, "rule is", "rules are"), after(", ", more), v.Summary)
		case v.ExitCode == record.ExitDrift && drift > 0:
			return checks.Count(drift, "rule is", "rules are") + " wanted that the approved plan does not hold; nothing was added"
		case v.ExitCode != record.ExitPassed && last(r).Error == "" && p.all > 0 && p.added+p.doubt+p.gone == 0:
			return v.Summary + "; nothing was added"
		}
	}
	return v.Summary
}

type count struct {
	n    int
	what string
}

func counts(n int, one, many string) count {
	if n == 1 {
		return count{n, one}
	}
	return count{n, many}
}

// counted is "2 failed, 1 warning": what there is none of is left out.
func counted(all ...count) string {
	var s []string
	for _, c := range all {
		if c.n > 0 {
			s = append(s, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(s, ", ")
}

// progress counts the rules of a plan by what became of them.
type progress struct{ all, added, there, notNeeded, doubt, gone, notInForce int }

func progressOf(r record.Record) progress {
	p := progress{all: len(r.Plan.Changes)}
	for _, planned := range r.Plan.Changes {
		c := Became(r, planned)
		switch c.State {
		case record.Done:
			p.added++
			if c.InForce.OK() && !c.InForce.V {
				p.notInForce++
			}
		case record.There:
			p.there++
		case record.NotNeeded:
			p.notNeeded++
		case record.Started, record.InDoubt:
			p.doubt++
		case record.TakenBack:
			p.gone++
		}
	}
	return p
}

// Became is what became of a planned change; its state is "" if it was not tried.
func Became(r record.Record, p record.PlannedChange) record.Change {
	for _, c := range r.Changes {
		if c.ID == p.ID && c.Server == p.Server {
			return c
		}
	}
	return record.Change{ID: p.ID, Server: p.Server}
}

// State is how far a change has come, in words. applying tells whether it was to be made by now.
func State(c record.Change, applying bool) string {
	force := ""
	switch {
	case c.State != record.Done && c.State != record.There:
	case !c.InForce.OK() && c.State == record.Done:
		force = ", not known whether in force"
	case c.InForce.OK() && !c.InForce.V:
		force = ", NOT in force"
	case c.InForce.OK() && c.State == record.Done:
		force = ", in force"
	}
	switch c.State {
	case record.Done:
		return "added" + force
	case record.There:
		return "already there" + force
	case record.Failed:
		return "failed"
	case record.NotNeeded:
		return "not needed any more"
	case record.Void:
		return "VOID"
	case record.TakenBack:
		return "taken back"
	case "":
		if applying {
			return "not added"
		}
		return "to add"
	}
	return "in doubt"
}

// removal is the last removal of a change, nil if none was tried since it was made.
func removal(r record.Record, c record.Change) *record.Removal {
	if r.BackOut == nil {
		return nil
	}
	for _, m := range slices.Backward(r.BackOut.Removals) {
		if m.ID == c.ID && m.Server == c.Server {
			if gone := m.State == record.Removed || m.State == record.Absent; gone != (c.State == record.TakenBack) {
				return nil
			}
			return &m
		}
	}
	return nil
}

// removalState is what became of taking a change back, in words.
func removalState(s record.RemovalState, why string) string {
	why = printable.Line(why)
	switch s {
	case record.Removed:
		return "removed"
	case record.Absent:
		return "was not there"
	case record.Differs:
		return "NOT removed: changed since it was added, so it stays"
	case record.NotTaken:
		return "NOT removed: failed: " + cmp.Or(why, "no reason given")
	case record.NotTried, "":
		return "NOT removed: not tried" + after(": ", why)
	}
	return "in doubt" + after(": ", cmp.Or(why, "its end was not seen"))
}

// after is a text after a separator, "" for none.
func after(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}

// Serves is a service and who dials it: "proxy: qs-rim1, clients".
func Serves(service string, why []string) string {
	return service + after(": ", strings.Join(dialled(why), ", "))
}

// dialled is who dials, from the flows that a rule is for: "qs-rim1" of "qs-rim1 -> qs-central 443 proxy". People's
// browsers come last.
func dialled(why []string) []string {
	var who []string
	for _, flow := range why {
		if from, _, ok := strings.Cut(flow, " -> "); ok && !slices.Contains(who, from) {
			who = append(who, from)
		}
	}
	slices.SortStableFunc(who, func(a, b string) int {
		return map[bool]int{true: 1}[a == "clients"] - map[bool]int{true: 1}[b == "clients"]
	})
	return who
}

// notes are what planning had to assume, from the flows that a rule is for: what stands in brackets behind them.
func notes(why []string) []string {
	var all []string
	for _, flow := range why {
		if m := note.FindStringSubmatch(flow); m != nil && !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

var note = regexp.MustCompile(` -> \S+ \d+ \S+ \((.*)\)$`)

// From is a rule's sources in words.
func From(sources []string) string { return "from " + strings.Join(sources, " ") }

// rims are the rim nodes that the run is about: those that its rules are on or for, or that wait for others; all of them if
// that is none.
func rims(r record.Record) []string {
	concerned := map[string]bool{}
	for _, c := range r.Plan.Changes {
		concerned[c.Server] = true
		for _, who := range dialled(c.Why) {
			concerned[who] = true
		}
	}
	for _, q := range r.Plan.Requests {
		concerned[q.Server] = true
		for _, who := range dialled(q.Why) {
			concerned[who] = true
		}
	}
	for _, b := range r.Plan.Blocked {
		concerned[b.Server] = true
	}
	var all, names []string
	for _, n := range r.Site.Nodes {
		if n.Role == "rim" {
			all = append(all, n.Name)
			if concerned[n.Name] {
				names = append(names, n.Name)
			}
		}
	}
	if len(names) == 0 {
		return all
	}
	return names
}

// toJoin are those of the rims that have not joined the site, as far as that is known.
func toJoin(r record.Record) []string {
	return slices.DeleteFunc(rims(r), func(name string) bool {
		return slices.ContainsFunc(r.Servers, func(s record.Server) bool { return s.Name == name && s.Phase == "joined" })
	})
}

// rimNodes is "rim node qs-rim1", or "12 rim nodes" if they are more than most.
func rimNodes(names []string, most int) string {
	switch {
	case len(names) == 0:
		return "its rim nodes"
	case len(names) > most:
		return checks.Count(len(names), "rim node", "rim nodes")
	case len(names) == 1:
		return "rim node " + names[0]
	}
	return "rim nodes " + listed(names)
}

// rimNodesAre is rimNodes with its verb.
func rimNodesAre(names []string) string {
	if len(names) == 1 {
		return rimNodes(names, 4) + " is"
	}
	return rimNodes(names, 4) + " are"
}

// listed is "a, b and c".
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// someOf is listed, or their number if they are many.
func someOf(servers []string) string {
	if len(servers) > 4 {
		return checks.Count(len(servers), "server", "servers")
	}
	return listed(servers)
}

func central(r record.Record) string {
	for _, n := range r.Site.Nodes {
		if n.Role == "central" {
			return n.Name
		}
	}
	return ""
}
