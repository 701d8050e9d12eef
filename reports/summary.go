package reports

import (
	"fmt"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/record"
)

// Summary is what stays on the terminal when the wizard has gone: how the run ended, what it added, and what is not right,
// with what to do.
func Summary(r record.Record) []byte {
	p := &page{width: 80}
	words := []string{r.Site.Name}
	if r.Change.Ticket != "" {
		words = append(words, flat(r.Change.Ticket))
	}
	s := standingOf(r)
	which := takenBy(s.at)
	ended := word(s.at, which)
	if s.verified != nil && !s.verified.Verdict.Passed {
		ended = Word(*s.verified)
	}
	words = append(words, strings.ToUpper(ended))
	if r.Run.Simulated {
		words = append(words, "simulated servers: nothing real was touched")
	}
	line, took := strings.Join(words, "  "), duration(r)
	if room := p.width - len([]rune(line)) - len(took); room >= 2 {
		line += strings.Repeat(" ", room) + took
	}
	p.line(line)
	if !s.since {
		p.para("  ", summary(s.at, which))
	} else {
		for _, l := range s.lines() {
			p.para("  ", l.what+": "+l.text)
		}
	}
	if s := RulesOf(r); s != "" {
		p.para("  ", s)
	}
	for _, f := range r.Findings {
		if !Mended(r, f) && f.Verdict != checks.Pass && f.Verdict != checks.NotApplicable {
			finding(p, f)
		}
	}
	return p.done()
}

// duration is the time from the run's beginning to the end of its last command.
func duration(r record.Record) string {
	if len(r.Run.Commands) == 0 || last(r).EndedAt == nil {
		return ""
	}
	took := last(r).EndedAt.Sub(r.Run.Commands[0].StartedAt).Round(time.Second)
	if took < time.Minute {
		return fmt.Sprintf("%d s", int(took.Seconds()))
	}
	return fmt.Sprintf("%d min %02d s", int(took.Minutes()), int(took.Seconds())%60)
}

// RulesOf counts the run's rules, by what became of them, and those that it relies on.
func RulesOf(r record.Record) string {
	p := progressOf(r)
	relied := map[string]bool{}
	for _, a := range r.Plan.Already {
		if !a.Ours && a.By != "" {
			relied[a.Server+" "+a.By] = true
		}
	}
	open := p.all - p.added - p.there - p.notNeeded - p.doubt - p.gone
	if doing(r) == "plan" {
		open = 0 // the summary says what is to be added
	}
	return counted(counts(p.added, "rule added", "rules added"), count{p.notInForce, "of them NOT in force"}, count{p.there, "there already"}, count{open, "not added"},
		count{p.notNeeded, "not needed any more"}, count{p.doubt, "in doubt"}, count{p.gone, "taken back"}, count{len(relied), "relied on and not ours"})
}

// Section is a part of the text of a run.
type Section string

const (
	Servers  Section = "servers"
	Rules    Section = "rules" // of the plan
	Joins    Section = "joins"
	Proofs   Section = "proofs"
	Findings Section = "findings"
)

// Sections are parts of Text, in their order there.
func Sections(r record.Record, o Options, which ...Section) []byte {
	p := &page{width: 80}
	for _, s := range which {
		switch s {
		case Servers:
			servers(p, r)
		case Rules:
			rules(p, r, o.Verbose)
			everyRule(p, r, o.Verbose)
		case Joins:
			joins(p, r)
		case Proofs:
			flows(p, r)
		case Findings:
			findings(p, r, o.Verbose)
			p.para("", Outcome(r))
		}
	}
	return p.done()
}
