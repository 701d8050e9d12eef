package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

// inspect is what was found, what is wrong first, and a row for each server with what was read from it.
func (s scene) inspect() body {
	b := body{head: slices.Concat(s.trouble(), s.underWay())}
	if !s.running {
		b.rows = s.findings(true)
		if len(b.rows) > 0 {
			b.rows = append(b.rows, row{})
		}
	}
	b.rows = append(b.rows, s.servers()...)
	return b
}

func (s scene) servers() []row {
	var rows []row
	var cells [][]span
	for _, v := range s.r.Servers {
		x := row{id: "server " + v.Name}
		role := string(v.Role)
		if v.Role == site.Rim && v.Phase != "" {
			role += ", " + phaseWords(v.Phase)
		}
		switch {
		case v.Failure != nil:
			x.detail = s.failure(v)
			cells = append(cells, failureCells(v))
		case v.Facts != nil:
			read := reports.Inspected(v.Facts.Windows, v.Facts.Release())
			x.detail.lines = append(para(plain, nil, v.Name+": "+read+"; "+role, s.width), line{say(dim, "enter shows what was read")})
			x.detail.more = s.facts(v, *v.Facts)
			cells = append(cells, []span{say(strong, v.Name), say(good, "read"), say(plain, role), say(dim, read)})
		default:
			word := say(dim, "not read")
			if s.running && v.SignIn != nil {
				word = say(waiting, "reading")
			}
			x.detail.lines = para(plain, nil, v.Name+": "+word.text, s.width)
			cells = append(cells, []span{say(strong, v.Name), word, say(plain, role)})
		}
		rows = append(rows, x)
	}
	return laid(rows, s.width, cells)
}

// phaseWords say how far a rim has come.
func phaseWords(p facts.Phase) string {
	switch p {
	case facts.Installed:
		return "installed, not joined"
	case facts.PhaseUnknown:
		return "phase unknown"
	}
	return string(p)
}

// facts are what was read from a server.
func (s scene) facts(v record.Server, f facts.Server) []line {
	var lines []line
	add := func(what, value string) {
		lines = append(lines, para(plain, line{{pad(what, 14), dim}}, value, s.width)...)
	}
	add("server", v.Name+after(", computer name ", f.Computer))
	add("Windows", cmp.Or(f.Windows, "not known"))
	add("PowerShell", cmp.Or(f.PowerShell, "not known"))
	add("language", cmp.Or(f.Language, "not known"))
	add("up for", known(f.UptimeS, func(seconds int64) string { return long(time.Duration(seconds) * time.Second) }))
	add("clock", known(f.Clock, func(c facts.Clock) string {
		return fmt.Sprintf("%+.1f s against this machine's, within %.1f s", float64(c.AheadMS)/1000, float64(c.ErrorMS)/1000)
	}))
	for _, i := range f.Interfaces {
		var addresses []string
		for _, a := range i.Addresses {
			addresses = append(addresses, a.String())
		}
		add("interface", fmt.Sprintf("%s, profile %s: %s", i.Name, i.Profile, strings.Join(addresses, " ")))
	}
	add("releases", known(f.Releases, func(all []string) string { return cmp.Or(strings.Join(all, ", "), "no Qlik Sense") }))
	if v.Role == site.Rim {
		add("repository", known(f.State, facts.ServiceState.String))
	}
	if !f.Services.OK() || len(f.Services.V) == 0 {
		add("services", known(f.Services, func([]facts.Service) string { return "none of Qlik Sense" }))
	}
	for _, service := range f.Services.V {
		add("service", strings.ToLower(service.State)+", "+strings.ToLower(service.Start)+": "+service.Name)
	}
	for _, m := range f.Missing {
		add("not read", m.Fact+": "+m.Why)
	}
	return lines
}

// known is a fact in words, or why it is not known.
func known[T any](v facts.Value[T], words func(T) string) string {
	if !v.OK() {
		return "not known: " + v.Unknown
	}
	return words(v.V)
}

// long is a duration to the minute.
func long(d time.Duration) string {
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case days > 0:
		return checks.Count(days, "day", "days") + fmt.Sprintf(" %d h", hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	}
	return fmt.Sprintf("%d min", minutes)
}

// after is a text after a separator, "" for none.
func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

// findings are a row for each that is not right, those first that stop the join; with passed also one for all others.
func (s scene) findings(passed bool) []row {
	var wrong, right []checks.Finding
	applicable := 0
	for _, f := range s.r.Findings {
		switch f.Verdict {
		case checks.Pass:
			right = append(right, f)
			applicable++
		case checks.NotApplicable:
			right = append(right, f)
		default:
			wrong = append(wrong, f)
		}
	}
	slices.SortStableFunc(wrong, func(a, b checks.Finding) int { return s.weight(a) - s.weight(b) })
	var rows []row
	var cells [][]span
	seen := map[string]int{}
	for _, f := range wrong {
		t, what := bad, f.Seen
		switch {
		case reports.Mended(s.r, f):
			t, what = waiting, "the plan mends this: "+what
		case f.Verdict != checks.Fail:
			t = waiting
		}
		key := "finding " + flat(f.Check) + " " + f.Server
		seen[key]++ // a check may find several things on a server
		rows = append(rows, row{id: fmt.Sprintf("%s %d", key, seen[key]), detail: s.finding(f)})
		cells = append(cells, []span{say(t, strings.ToUpper(string(f.Verdict))), say(plain, f.Check), say(strong, cmp.Or(f.Server, s.r.Site.Name)), say(plain, what)})
	}
	rows = laid(rows, s.width, cells)
	if !passed || len(right) == 0 {
		return rows
	}
	words := checks.Count(applicable, "check", "checks")
	if len(wrong) > 0 {
		words = fmt.Sprintf("%d more", applicable)
	}
	if none := len(right) - applicable; none > 0 {
		words += fmt.Sprintf(", %d not applicable", none)
	}
	return append(rows, row{id: "passed", line: line{say(good, "PASS"), {"  ", plain}, say(plain, words)},
		detail: detail{lines: []line{{say(dim, "enter lists them")}}, more: s.passed(right)}})
}

// weight is where a finding stands among those that are not right.
func (s scene) weight(f checks.Finding) int {
	switch {
	case f.Verdict == checks.Fail && !reports.Mended(s.r, f):
		return 0
	case f.Verdict == checks.Fail:
		return 1
	case f.Verdict == checks.Warn:
		return 2
	}
	return 3
}

// passed lists what passed, and what was not to be asked.
func (s scene) passed(all []checks.Finding) []line {
	var cells [][]span
	for _, f := range all {
		word := say(good, "PASS")
		if f.Verdict == checks.NotApplicable {
			word = say(dim, "N/A")
		}
		cells = append(cells, []span{word, say(plain, f.Check), say(strong, cmp.Or(f.Server, s.r.Site.Name)), say(plain, f.Seen)})
	}
	return columns(s.width, cells)
}

// finding is all of a finding: what was seen, why, whose it is and what to do.
func (s scene) finding(f checks.Finding) detail {
	d := detail{lines: para(strong, nil, cmp.Or(f.Server, s.r.Site.Name)+": "+f.Seen, s.width)}
	if f.Cause != "" && f.Cause != f.Seen {
		d.lines = append(d.lines, labelled("Cause", f.Cause, s.width)...)
	}
	if reports.Mended(s.r, f) { // what to type instead is not for somebody who is led there
		d.lines = append(d.lines, line{label8("Remedy"), say(plain, "the plan mends this: go on to the review")})
	} else {
		d.lines, d.copy = append(d.lines, s.todo(f.Owner, f.Remedy)...), commandIn(f.Remedy)
	}
	if f.Waived != nil {
		d.lines = append(d.lines, labelled("Waived", *f.Waived, s.width)...)
	}
	if explain := "preflight explain " + flat(f.Check); explain != d.copy {
		d.lines = append(d.lines, line{label8("More"), say(plain, explain)})
	}
	return d
}

// todo is whose something is, and what to do.
func (s scene) todo(owner, remedy string) []line {
	var lines []line
	if owner != "" {
		lines = labelled("Owner", owner, s.width)
	}
	if remedy != "" {
		lines = append(lines, advised(label8("Remedy").text, remedy, s.width)...)
	}
	return lines
}
