package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
	"github.com/qlik-preflight/preflight/reports"
)

// apply is a row for each rule of the plan with what has become of it, after the servers that could not be used.
func (s scene) apply() body {
	b := body{head: slices.Concat(s.trouble(), s.underWay()), rows: s.failed()}
	if s.w.Stage() == "prove" {
		b.head = append(b.head, s.comingIn()...)
	}
	var rows []row
	var cells [][]span
	for _, c := range s.r.Plan.Changes {
		done := reports.Became(s.r, c)
		word := s.state(c, done)
		rows = append(rows, row{id: "rule " + c.Server + " " + c.ID, detail: s.became(c, done, word)})
		cells = append(cells, []span{say(strong, c.Server), say(plain, checks.List(c.Ports, ",")), word})
	}
	for _, c := range s.r.Plan.Unapproved {
		word := say(bad, "NOT in the approved plan, but wanted now")
		rows = append(rows, row{id: "wanted " + c.Server + " " + c.ID, detail: s.ruleToAdd(c)})
		cells = append(cells, []span{say(strong, c.Server), say(plain, checks.List(c.Ports, ",")), word})
	}
	b.rows = append(b.rows, laid(rows, s.width, cells)...)
	if len(rows) == 0 && s.r.Change.PlanSHA256 != "" {
		b.head = append(b.head, line{say(good, "No rule has to be added.")})
	}
	if way := s.wayBack(); way.id != "" {
		b.rows = append(b.rows, row{}, way)
	}
	return b
}

// state is how far a rule has come, in words.
func (s scene) state(c record.PlannedChange, done record.Change) span {
	if word, m := reports.Undone(s.r, c); word != "" && (s.action == wizard.DoBackOut && s.running || m != nil) {
		switch {
		case m != nil && m.EndedAt == nil && s.running:
			return say(waiting, "taking back")
		case done.State == record.TakenBack:
			return say(good, word)
		case m != nil:
			return say(bad, word)
		}
		return say(waiting, "to take back")
	}
	adding := s.running && s.action == wizard.DoApply
	switch done.State {
	case record.Started:
		if adding && s.w.Stage() == "apply" {
			return say(waiting, "adding")
		}
	case record.Failed:
		return say(bad, "FAILED"+after(": ", done.Error))
	case record.Void:
		return say(bad, reports.State(done, true))
	case record.Done:
		if adding && !done.InForce.OK() {
			return say(good, "added") // whether in force is asked when all of its server are in
		}
		if !done.InForce.OK() {
			return say(waiting, reports.State(done, true))
		}
	case record.There, record.NotNeeded, record.TakenBack:
	case "":
		tried := !s.running && len(s.r.Changes) > 0
		return say(map[bool]tone{true: bad, false: plain}[tried], reports.State(done, tried))
	default:
		return say(waiting, reports.State(done, true))
	}
	if done.InForce.OK() && !done.InForce.V && done.State != record.TakenBack && done.State != record.NotNeeded {
		return say(bad, reports.State(done, true))
	}
	return say(good, reports.State(done, true))
}

// became is all of a rule, of what has become of it, and of what can be done then.
func (s scene) became(c record.PlannedChange, done record.Change, word span) detail {
	d := detail{more: s.powerShell(c), copy: flat(c.PowerShell)}
	d.lines = para(word.tone, nil, fmt.Sprintf("%s: %s %s: %s", c.Server, checks.List(c.Ports, ","), reports.From(c.From), word.text), s.width)
	if done.Error != "" && done.State != record.Failed {
		d.lines = append(d.lines, labelled("Why", done.Error, s.width)...)
	} else {
		d.lines = append(d.lines, labelled("For", reports.Serves(c.Service, c.Why), s.width)...)
	}
	next := ""
	switch done.State {
	case record.Failed:
		next = "put that right and try again: what is in is not added twice"
	case record.InDoubt:
		next = "try again: it looks first whether the rule is there"
	case record.Void:
		next = "none was added, for it would do nothing"
	}
	if next != "" && !s.running {
		d.lines = append(d.lines, labelled("Next", next, s.width)...)
	}
	d.lines = append(d.lines, line{say(dim, "enter shows its PowerShell and its undo")})
	return d
}

// wayBack says that the way back is written; its id is "" if none is.
func (s scene) wayBack() row {
	w := s.r.BackOut
	if w == nil || len(w.Files) == 0 {
		return row{}
	}
	word := map[string]string{"ready": "the way back is written", "done": "every rule of this run has been taken back"}[w.State]
	if word == "" {
		word = "taking back is not complete"
	}
	files := strings.Join(w.Files, " ")
	d := detail{lines: append(para(plain, nil, word+": "+files, s.width), labelled("Undo", "preflight backout "+reports.Named(s.r), s.width)...)}
	x := []row{{id: "way back", detail: d}}
	return laid(x, s.width, [][]span{{say(plain, word+":"), say(dim, files)}})[0]
}
