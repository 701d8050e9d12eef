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

// joinSteps are the steps of a join, for those that have not begun: a record has only those that have.
var joinSteps = [...]record.Step{
	{Step: "node", Guide: "1-3", Title: "create the node"},
	{Step: "certificate", Guide: "4-5", Title: "send the certificate"},
	{Step: "unlock", Guide: "6-7", Title: "unlock the certificate"},
	{Step: record.RunningStep, Guide: "8", Title: "wait until it runs"},
	{Step: record.LastStep, Guide: "9", Title: "let it serve browsers"},
}

// join is a row for each step of taking the rim into the site.
func (s scene) join() body {
	rim := s.w.Answers().Rim
	b := body{head: s.trouble()}
	if j := s.r.Join; j != nil && j.Rim == rim && j.By != "" {
		how := reports.AskedWith("", nil)
		if j.By != "hand" {
			how = reports.AskedWith(j.QRS, j.Certificate)
		}
		b.head = append(b.head, para(dim, nil, "join of "+rim+", "+how, s.width)...)
	}
	latest := s.r.Join.Latest()
	var rows []row
	cells := [][]span{{say(strong, ""), say(strong, rim), say(dim, "step"), {}}}
	for _, step := range joinSteps {
		step.Rim = rim
		if i := slices.IndexFunc(latest, func(o record.Step) bool { return o.Rim == rim && o.Step == step.Step }); i >= 0 {
			step = latest[i]
		}
		word := s.stepWord(step)
		seen := step.Seen
		if s.doingNow(step) {
			b.head = append(b.head, s.atStep(step)...)
			seen = s.sofar(step)
		}
		rows = append(rows, row{id: "step " + step.Step, detail: s.step(step, word)})
		cells = append(cells, []span{word, say(plain, step.Title), say(dim, step.Guide), say(dim, seen)})
	}
	if s.running && s.w.Stage() != "join" {
		b.head = append(append(b.head, s.underWay()...), s.comingIn()...)
	}
	lines := columns(s.width, cells)
	b.head = append(b.head, lines[0])
	for i := range rows {
		rows[i].line = lines[i+1]
	}
	b.rows = rows
	if more := slices.Concat(s.failed(), s.standing()); len(more) > 0 && !s.running {
		b.rows = append(append(b.rows, row{}), more...)
	}
	return b
}

// standing are the findings that keep a join from being begun; what became of its steps stands above.
func (s scene) standing() []row {
	if s.w.Trouble() == "" {
		return nil
	}
	var rows []row
	for _, x := range s.findings(false) {
		if !strings.HasPrefix(x.id, "finding "+checks.JoinComplete+" ") {
			rows = append(rows, x)
		}
	}
	return rows
}

// doingNow tells whether a step is under way, or waits for the operator.
func (s scene) doingNow(step record.Step) bool {
	return s.running && s.action == wizard.DoJoin && (step.State == record.StepStart || step.State == record.StepWait) && !step.StartedAt.Before(s.command().StartedAt)
}

// stepWord is how far a step has come.
func (s scene) stepWord(step record.Step) span {
	switch now := s.doingNow(step); step.State {
	case "":
		return say(dim, "to do")
	case record.StepDone, record.StepByHand, record.StepNeedless:
		return say(good, reports.StepState(step.State))
	case record.StepFailed:
		return say(bad, reports.StepState(step.State))
	case record.StepWait:
		if now {
			return say(waiting, strings.ToUpper(reports.StepState(step.State)))
		}
		return say(waiting, "broken off")
	case record.StepStart:
		if now {
			return say(waiting, "under way")
		}
	}
	return say(waiting, reports.StepState(step.State))
}

// sofar is how long a step has taken.
func (s scene) sofar(step record.Step) string {
	return fmt.Sprintf("%d s so far", max(0, int(s.now.Sub(step.StartedAt).Seconds())))
}

// atStep is what goes on in a step, or what a person has to do in it. What is indented is to be copied.
func (s scene) atStep(step record.Step) []line {
	if step.State != record.StepWait {
		return []line{{say(waiting, step.Title+" ..."), {"  ", plain}, say(dim, s.sofar(step))}}
	}
	lines := []line{{say(waiting, "waiting for you:"), {"  ", plain}, say(dim, s.sofar(step))}}
	return append(lines, s.asked(step)...)
}

// asked is what a person has or had to do in a step.
func (s scene) asked(step record.Step) []line {
	var lines []line
	for _, text := range step.For {
		t, first := plain, line(nil)
		if strings.HasPrefix(text, " ") {
			t, first = accent, line{{"  ", plain}}
		}
		lines = append(lines, para(t, first, text, s.width)...)
	}
	return lines
}

// step is all of a step: what shows how far it has come, and what to do.
func (s scene) step(step record.Step, word span) detail {
	d := detail{lines: para(word.tone, nil, fmt.Sprintf("%s (step %s of the guide): %s", step.Title, step.Guide, word.text), s.width), copy: commandIn(step.Remedy)}
	if step.Seen != "" {
		d.lines = append(d.lines, labelled("Seen", step.Seen, s.width)...)
	}
	d.lines = append(d.lines, s.todo(step.Owner, step.Remedy)...)
	var copied []string
	for _, text := range step.For {
		if strings.HasPrefix(text, " ") {
			copied = append(copied, flat(text))
		}
	}
	switch {
	case len(step.For) == 0:
	case s.doingNow(step): // the lines themselves stand above
		d.copy = strings.Join(copied, "\n")
	default:
		d.more = append([]line{{say(dim, "what a person was to do in it")}}, s.asked(step)...)
		d.lines = append(d.lines, line{say(dim, "enter shows what a person was to do in it")})
	}
	return d
}
