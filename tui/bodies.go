package tui

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
	"github.com/qlik-preflight/preflight/reports"
)

// bodyOf is what a step shows of the run so far, at a width. now is for what is under way.
func bodyOf(w wizard.Wizard, width int, now time.Time) body {
	s := scene{w: w, r: ofSite(w), width: max(width, narrowest), now: now}
	s.action, s.running = w.Action()
	switch w.Step() {
	case wizard.Connect:
		return s.connect()
	case wizard.Inspect:
		return s.inspect()
	case wizard.Review:
		return s.review()
	case wizard.Apply:
		return s.apply()
	case wizard.Prove:
		return s.prove()
	case wizard.Join:
		return s.join()
	case wizard.Report:
		return s.report()
	}
	return body{}
}

// narrowest is the width below which nothing is fitted any more: the lines are cut where they are drawn.
const narrowest = 20

// scene is what the body of a step is made from.
type scene struct {
	w       wizard.Wizard
	r       record.Record
	width   int
	now     time.Time
	action  wizard.Action
	running bool
}

// ofSite is the run so far. Where there is none of the chosen site yet, it is a record of that site's servers alone.
func ofSite(w wizard.Wizard) record.Record {
	r, chosen := w.Record(), w.Answers().Candidate.Site
	if chosen.Name == "" || r.Site.Name == chosen.Name && reflect.DeepEqual(r.Site.Nodes, chosen.Nodes) { // names need not be unique
		return r
	}
	r = record.Record{Site: chosen}
	for _, n := range chosen.Nodes {
		r.Servers = append(r.Servers, record.Server{Name: n.Name, Role: n.Role})
	}
	return r
}

// trouble says why the last action broke off; nothing while one runs, for that may mend it.
func (s scene) trouble() []line {
	why := s.w.Trouble()
	if why == "" || s.running {
		return nil
	}
	word := "FAILED"
	if n := len(s.r.Run.Commands); n > 0 && s.r.Run.Commands[n-1].Error == why {
		word = strings.ToUpper(reports.Word(s.r))
	}
	return para(bad, nil, word+": "+why, s.width)
}

// doing is what goes on now, in words.
func (s scene) doing() string {
	if !s.running {
		return ""
	}
	switch s.w.Stage() {
	case "", "connect":
		return "signing in to the servers"
	case "inspect":
		return "looking at the servers"
	case "plan":
		return "planning"
	case "prove":
		switch s.phase() {
		case proof.Baseline:
			return "proving what works before"
		case proof.CloseOut:
			return "proving the flows of " + s.w.Answers().Rim + " by the real services"
		}
		if s.action == wizard.DoJoin {
			return "proving the flows of " + s.w.Answers().Rim
		}
		return "proving every flow"
	case "apply":
		return "adding rules"
	case "backout":
		return "taking back what this run added"
	}
	return "joining " + s.w.Answers().Rim
}

// underWay is a line of what goes on now, none if nothing does.
func (s scene) underWay() []line {
	if now := s.doing(); now != "" {
		return []line{{say(waiting, now+" ...")}}
	}
	return nil
}

// failed are rows of the servers that could not be used in the command that ran last.
func (s scene) failed() []row {
	var cells [][]span
	var rows []row
	for _, v := range s.r.Servers {
		if v.Failure != nil {
			rows = append(rows, row{id: "server " + v.Name, detail: s.failure(v)})
			cells = append(cells, failureCells(v))
		}
	}
	return laid(rows, s.width, cells)
}

// failureCells are a server's name, its state and the reason, which does not name the server once more.
func failureCells(v record.Server) []span {
	why := strings.TrimPrefix(v.Failure.Error, v.Name+": ")
	word := say(bad, "FAILED")
	if v.Failure.Kind == "not_tried" {
		word, why = say(waiting, "not tried"), strings.TrimPrefix(why, "not tried: ")
	}
	return []span{say(strong, v.Name), word, say(plain, why)}
}

// failure is all that is known of why a server could not be used, and what to type against it.
func (s scene) failure(v record.Server) detail {
	d := detail{lines: para(bad, nil, v.Failure.Error, s.width)}
	for _, hint := range v.Failure.Hints {
		d.lines = append(d.lines, advised("- ", hint, s.width)...)
		d.copy = cmp.Or(d.copy, commandIn(hint))
	}
	return d
}

// say is a text of one tone, as one line of what can be shown.
func say(t tone, text string) span { return span{flat(text), t} }

// flat makes one line of a text. It is data, also where a server sent it: what can act is left out.
func flat(text string) string { return printable.Text(strings.Join(strings.Fields(text), " ")) }

// para wraps a text to a width; the lines after the first begin where the text does, behind first.
func para(t tone, first line, text string, width int) []line {
	indent := first.width()
	var lines []line
	for i, l := range wrapped(flat(text), t, max(width-indent, 8)) {
		if i > 0 {
			first = line{{strings.Repeat(" ", indent), plain}}
		}
		lines = append(lines, append(slices.Clip(first), l...))
	}
	return lines
}

// labelled is a text behind what it is.
func labelled(label, text string, width int) []line {
	return para(plain, line{label8(label)}, text, width)
}

// label8 is a word that says what follows, so wide that those of a detail stand below each other.
func label8(label string) span { return span{pad(label, 8), dim} }

// advised is a text behind a label, with a command in it on a line of its own, which is never broken: it is there to be
// copied.
func advised(label, text string, width int) []line {
	first := line{{label, dim}}
	indent := strings.Repeat(" ", first.width())
	var lines []line
	for text != "" {
		before, command, after := reports.Advice(text)
		switch {
		case before != "":
			lines = append(lines, para(plain, first, before, width)...)
			if command != "" {
				lines = append(lines, line{{indent + "  ", plain}, {command, accent}})
			}
		default:
			lines = append(lines, append(slices.Clip(first), span{command, accent}))
		}
		first, text = line{{indent, plain}}, after
	}
	return lines
}

// commandIn is the command that a text advises, "" if there is none in it.
func commandIn(text string) string {
	_, command, _ := reports.Advice(text)
	return command
}

// laid gives rows their lines: cells in columns.
func laid(rows []row, width int, cells [][]span) []row {
	for i, l := range columns(width, cells) {
		rows[i].line = l
	}
	return rows
}

// columns lays cells out in columns that are as wide as what is in them; the last cell of a row may go on to the edge. If
// that is wider than there is room, the last column gives way first, as far as to a quarter of the width, then the widest,
// and what is in them is cut.
func columns(width int, rows [][]span) []line {
	const gap, least = 2, 4
	var widths []int
	for _, r := range rows {
		for len(widths) < len(r) {
			widths = append(widths, 0)
		}
	}
	last := len(widths) - 1
	for _, r := range rows {
		for i, c := range r {
			if i < len(r)-1 || i == last {
				widths[i] = max(widths[i], ansi.StringWidth(c.text))
			}
		}
	}
	over := -width - gap
	for _, w := range widths {
		over += w + gap
	}
	for ; over > 0; over-- {
		i := slices.Index(widths, slices.Max(widths))
		if widths[last] > max(width/4, least) {
			i = last
		}
		if widths[i] <= least {
			break
		}
		widths[i]--
	}
	var lines []line
	for _, r := range rows {
		var l line
		at := 0
		for i, c := range r {
			if i == len(r)-1 {
				l = append(l, span{ansi.Truncate(c.text, max(width-at, least), "..."), c.tone})
				break
			}
			l = append(l, span{pad(ansi.Truncate(c.text, widths[i], "..."), widths[i]+gap), c.tone})
			at += widths[i] + gap
		}
		lines = append(lines, l)
	}
	return lines
}
