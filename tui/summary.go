package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/reports"
)

// report is how the run ended: what is not right, what is in, and where to find what was written.
func (s scene) report() body {
	if len(s.r.Run.Commands) == 0 {
		return body{head: s.trouble()}
	}
	t := waiting
	switch v := s.r.Verdict; {
	case v.Passed && v.Complete:
		t = good
	case !v.Passed:
		t = bad
	}
	b := body{head: para(t, nil, reports.Outcome(s.r), s.width)}
	b.rows = s.findings(false)
	if len(b.rows) > 0 {
		b.rows = append(b.rows, row{})
	}
	b.rows = append(b.rows, s.left()...)
	return b
}

// left is what the run leaves behind.
func (s scene) left() []row {
	var rows []row
	var cells [][]span
	add := func(id, what, text string, d detail) {
		rows, cells = append(rows, row{id: id, detail: d}), append(cells, []span{say(dim, what), say(plain, text)})
	}
	if words := reports.RulesOf(s.r); words != "" {
		d := detail{lines: para(plain, nil, words, s.width), more: s.ruleLines()}
		d.lines = append(d.lines, line{say(dim, "enter lists them")})
		add("rules", "rules", words, d)
	}
	for _, v := range s.r.Servers {
		if asked := reports.Requests(s.r, v.Name); asked != "" {
			add("asked "+v.Name, "asked for", v.Name+": "+asked, detail{lines: para(plain, nil, v.Name+": "+asked+". They wait for that; preflight verify "+reports.Named(s.r)+" tells when it is done.", s.width)})
		}
	}
	file := func(what, name, text string) {
		add("file "+name, what, name, detail{lines: para(plain, nil, name+", in the run's folder: "+text, s.width), copy: name})
	}
	if c := s.w.Answers().Candidate; c.Simulated && c.File == "" {
		add("simulated", "simulated", "nothing real was touched; the simulated site ends with the wizard",
			detail{lines: para(plain, nil, "The servers were simulated: nothing real was touched. The simulated site ends with the wizard, so that nothing is left to take back.", s.width)})
	} else {
		command := func(what, typed, text string) {
			add("command "+what, what, typed, detail{lines: append([]line{{say(accent, typed)}}, para(plain, nil, text, s.width)...), copy: typed})
		}
		if s.r.InPlace() > 0 {
			command("undo", "preflight backout "+reports.Named(s.r), "takes back what this run added, and nothing else")
		}
		command("again", "preflight verify "+reports.Named(s.r), "proves every flow once more and says what is different")
	}
	file("record", "record.json", "everything that the run saw and did; attach it to the ticket")
	file("ticket", "ticket.txt", "the texts for the change ticket, each to be pasted alone")
	if len(s.r.Plan.Requests) > 0 {
		file("request", "gpo-request.txt", "to hand over to whoever owns the policy")
	}
	if w := s.r.BackOut; w != nil && len(w.Files) > 0 {
		file("way back", "backout/", "the way back as PowerShell, which works without preflight: "+strings.Join(w.Files, " "))
	}
	return laid(rows, s.width, cells)
}

// ruleLines are the rules of the plan with what became of them, and those that the run relies on.
func (s scene) ruleLines() []line {
	var cells [][]span
	for _, c := range s.r.Plan.Changes {
		cells = append(cells, []span{say(strong, c.Server), say(plain, checks.List(c.Ports, ",")), s.state(c, reports.Became(s.r, c)), say(dim, c.ID)})
	}
	for _, v := range s.r.Servers {
		relied := s.r.Plan.Already
		for _, x := range shares(len(relied), func(i int) (uint16, string, string, bool) {
			a := relied[i]
			return a.Port, a.From, reports.ReliedOn(a), a.Server == v.Name && !a.Ours && a.By != ""
		}) {
			cells = append(cells, []span{say(strong, v.Name), say(plain, checks.List(x.ports, ",")), say(plain, "relied on"), say(dim, reports.ReliedOn(relied[x.first]))})
		}
	}
	return slices.Concat([]line{{say(strong, fmt.Sprintf("rules of %s", s.r.Run.ID))}}, columns(s.width, cells))
}
