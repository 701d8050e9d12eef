package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
	"github.com/qlik-preflight/preflight/reports"
)

// matrixWidth is the width below which pairs are listed, even if a matrix of them would fit.
const matrixWidth = 60

// prove is every flow by who dials and who is dialled: a matrix, or a list of pairs where that does not fit.
func (s scene) prove() body {
	b := body{head: s.trouble()}
	for _, v := range s.r.Servers {
		if v.Failure != nil {
			b.head = append(b.head, columns(s.width, [][]span{failureCells(v)})...)
		}
	}
	switch {
	case s.running && s.w.Stage() == "prove":
		b.head = append(b.head, s.underWay()...)
		b.head = append(b.head, s.comingIn()...)
	case s.running:
		b.head = append(b.head, s.underWay()...)
	case len(s.r.Proofs) > 0:
		b.head = append(b.head, line{say(s.flowsTone(), flowsProven(s.r))})
		if now := reports.Compared(s.r); now != "" && s.command().Name == "verify" {
			b.head = append(b.head, para(plain, nil, now, s.width)...)
		}
	}
	pairs := s.pairs()
	if head, rows, ok := s.matrix(pairs); ok {
		return body{append(b.head, head), rows}
	}
	return body{b.head, s.list(pairs)}
}

// flowsProven counts the flows of the site by their latest proofs.
func flowsProven(r record.Record) string {
	f := r.Verdict.Flows
	words := fmt.Sprintf("%d of %s proven", f.Proven, checks.Count(f.Total, "flow", "flows"))
	if f.Failed > 0 {
		words += fmt.Sprintf(", %d failed", f.Failed)
	}
	if f.NotTested > 0 {
		words += fmt.Sprintf(", %d not tested", f.NotTested)
	}
	return words
}

// flowsTone is the tone of what the flows come to.
func (s scene) flowsTone() tone {
	switch f := s.r.Verdict.Flows; {
	case f.Failed > 0:
		return bad
	case f.NotTested > 0:
		return waiting
	}
	return good
}

func (s scene) command() record.Command {
	if n := len(s.r.Run.Commands); n > 0 {
		return s.r.Run.Commands[n-1]
	}
	return record.Command{}
}

// phase is the one whose proofs come in, "" if none do.
func (s scene) phase() proof.Phase {
	if !s.running || s.w.Stage() != "prove" {
		return ""
	}
	switch s.action {
	case wizard.DoApply:
		if s.w.Step() == wizard.Apply {
			return proof.Baseline
		}
		return proof.AfterApply
	case wizard.DoJoin:
		if s.r.Join != nil && slices.ContainsFunc(s.r.Join.Steps, func(j record.Step) bool { return !j.StartedAt.Before(s.command().StartedAt) }) {
			return proof.CloseOut
		}
	}
	return proof.Verify
}

// in tells whether a proof is of those that come in.
func (s scene) in(p proof.Proof) bool {
	return p.Phase == s.phase() && !p.At.Before(s.command().StartedAt)
}

// comingIn counts the proofs that have come in; none if none do.
func (s scene) comingIn() []line {
	if s.phase() == "" {
		return nil
	}
	n := 0
	for _, p := range s.r.Proofs {
		if s.in(p) {
			n++
		}
	}
	words := fmt.Sprintf("%d of %s so far", n, checks.Count(len(s.r.Flows()), "flow", "flows"))
	if s.action == wizard.DoJoin { // those of one rim alone
		words = checks.Count(n, "flow", "flows") + " so far"
	}
	return []line{{say(plain, words)}}
}

// pair is the flows from one node to another, with their latest proofs.
type pair struct {
	from, to string
	flows    []flow
	latest   []proof.Proof // of those flows that have one
	in       int           // how many have come in, of those that do
	same     []int         // of latest: how many other flows of the site fail for the same cause
}

// flow is one of them, with its proof in each phase; zero where there is none.
type flow struct {
	port    uint16
	service string
	in      []proof.Proof // as proof.Phases
}

func (p pair) id() string { return p.from + " -> " + p.to }

// pairs are those between which there are flows, in their order.
func (s scene) pairs() []pair {
	by := map[string]proof.Proof{}
	for _, q := range s.r.Proofs {
		by[q.ID] = q
	}
	var all []pair
	at := map[[2]string]int{}
	for _, f := range s.r.Flows() {
		key := [2]string{f.From, f.To}
		i, known := at[key]
		if !known {
			i = len(all)
			all, at[key] = append(all, pair{from: f.From, to: f.To}), i
		}
		one := flow{f.Port, string(f.Service), make([]proof.Proof, len(proof.Phases))}
		for n, phase := range proof.Phases {
			one.in[n] = by[proof.ID(phase, f)]
			if one.in[n].ID != "" && s.in(one.in[n]) {
				all[i].in++
			}
		}
		all[i].flows = append(all[i].flows, one)
	}
	latest, causes := s.r.Latest(), map[string]int{}
	for _, q := range latest {
		if q.Verdict.Fails() && q.Cause != nil {
			causes[*q.Cause]++
		}
	}
	for _, q := range latest {
		if i, known := at[[2]string{q.From, q.To}]; known {
			same := 0
			if q.Verdict.Fails() && q.Cause != nil {
				same = causes[*q.Cause] - 1
			}
			all[i].latest, all[i].same = append(all[i].latest, q), append(all[i].same, same)
		}
	}
	return all
}

// worst are the verdicts of flows that fail, the worst first: what nobody hears of before what says why.
var worst = [...]proof.Verdict{proof.Dropped, proof.Refused, proof.Other, proof.BlockedAtSource, proof.NoRoute, proof.NoName}

// proven tells whether a flow was seen to work by both ends.
func proven(p proof.Proof) bool { return p.Verdict.Works() && p.Level == facts.Proven }

func (p pair) count(holds func(proof.Proof) bool) int {
	n := 0
	for _, q := range p.latest {
		if holds(q) {
			n++
		}
	}
	return n
}

func fails(p proof.Proof) bool { return p.Verdict.Fails() }

// stands is how it stands with the flows of a pair, in words.
func (s scene) stands(p pair) span {
	n, of := p.count(proven), len(p.flows)
	if s.phase() != "" && p.in < of && (p.in > 0 || len(p.latest) == 0) {
		return say(waiting, fmt.Sprintf("... %d/%d", p.in, of))
	}
	for _, v := range worst {
		if p.count(func(q proof.Proof) bool { return q.Verdict == v }) > 0 {
			return say(bad, fmt.Sprintf("!%d/%d %s", n, of, strings.ToUpper(checks.Words(v))))
		}
	}
	switch half := p.count(func(q proof.Proof) bool { return q.Verdict.Works() && !proven(q) }); {
	case n == of:
		return say(good, fmt.Sprintf("%d/%d proven", n, of))
	case half == of-n:
		return say(waiting, fmt.Sprintf("%d/%d not proven", half, of))
	}
	return say(waiting, fmt.Sprintf("%d/%d not tested", of-n, of))
}

// matrix has a row for each node that dials and a column for each that is dialled; false if that is too wide.
func (s scene) matrix(pairs []pair) (head line, rows []row, ok bool) {
	const corner, gap = "from \\ to", 2
	first := ansi.StringWidth(corner)
	for _, v := range s.r.Servers {
		first = max(first, ansi.StringWidth(flat(v.Name)))
		rows = append(rows, row{id: "from " + v.Name, line: line{say(strong, v.Name)}})
	}
	if first+len(rows)*(gap+len("not needed")) > s.width || s.width < matrixWidth || len(rows) == 0 {
		return nil, nil, false // not even the narrowest fits
	}
	head, at := line{{pad(corner, first), dim}}, first
	for _, to := range s.r.Servers {
		name := flat(to.Name)
		wide := ansi.StringWidth(name)
		for i, from := range s.r.Servers {
			c := s.cell(pairs, from.Name, to.Name)
			c.at = at + gap
			wide = max(wide, c.text.width())
			rows[i].cells = append(rows[i].cells, c)
		}
		head = append(head, span{strings.Repeat(" ", gap), plain}, span{pad(name, wide), strong})
		at += gap + wide
	}
	return head, rows, at <= s.width
}

// cell is where a node that dials and one that is dialled meet.
func (s scene) cell(pairs []pair, from, to string) cell {
	c := cell{id: from + " -> " + to}
	i := slices.IndexFunc(pairs, func(p pair) bool { return p.from == from && p.to == to })
	switch {
	case from == to:
		c.text, c.detail.lines = line{say(dim, "-")}, para(dim, nil, from+" itself", s.width)
	case i < 0:
		c.text, c.detail.lines = line{say(dim, "not needed")}, para(dim, nil, c.id+": no flow is needed", s.width)
	default:
		c.text, c.detail = line{s.stands(pairs[i])}, s.pair(pairs[i])
	}
	return c
}

// list has a row for each pair, those with a flow that fails first.
func (s scene) list(pairs []pair) []row {
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return map[bool]int{true: 1}[b.count(fails) > 0] - map[bool]int{true: 1}[a.count(fails) > 0]
	})
	var rows []row
	var cells [][]span
	for _, p := range pairs {
		rows = append(rows, row{id: p.id(), detail: s.pair(p)})
		cells = append(cells, []span{say(strong, p.id()), s.stands(p)})
	}
	return laid(rows, s.width, cells)
}

// pair is what there is to say of the flows of a pair: the first of those that fail worst, or else what proves them.
func (s scene) pair(p pair) detail {
	d := detail{more: s.ports(p)}
	for _, v := range worst {
		if i := slices.IndexFunc(p.latest, func(q proof.Proof) bool { return q.Verdict == v }); i >= 0 {
			s.failing(p, i, &d)
			return d
		}
	}
	by := []struct {
		what  string
		holds func(proof.Proof) bool
	}{
		{"by the real service", func(q proof.Proof) bool { return proven(q) && q.Verdict == proof.Service }},
		{"by a listener of preflight's", func(q proof.Proof) bool { return proven(q) && q.Verdict == proof.Answered }},
		{"though another source address arrives", func(q proof.Proof) bool { return proven(q) && q.Verdict == proof.Translated }},
	}
	var parts []string
	for _, b := range by {
		if n := p.count(b.holds); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, b.what))
		}
	}
	words := fmt.Sprintf("%s: %d of %s proven", p.id(), p.count(proven), checks.Count(len(p.flows), "flow", "flows"))
	d.lines = para(plain, nil, words+after(", ", strings.Join(parts, ", ")), s.width)
	if i := slices.IndexFunc(p.latest, func(q proof.Proof) bool { return !proven(q) }); i >= 0 {
		d.lines = append(d.lines, para(waiting, nil, inWords(p.latest[i])+": "+reports.SeenOf(p.latest[i]), s.width)...)
	}
	d.lines = append(d.lines, line{say(dim, "enter shows them port by port")})
	return d
}

// inWords is a proof in the words of a network: where from, where to, which port, and what became of it.
func inWords(q proof.Proof) string {
	word := checks.Words(q.Verdict)
	if q.Verdict.Fails() {
		word = strings.ToUpper(word)
	}
	return fmt.Sprintf("%s -> %s  %s %d  %s", q.From, q.To, strings.ToUpper(q.Protocol), q.Port, word)
}

// failing is a flow that fails: why, whose that is, what to do, and how many others it is the same with.
func (s scene) failing(p pair, i int, d *detail) {
	q := p.latest[i]
	at := line{say(strong, q.From+" -> "+q.To), {"  ", plain}, say(strong, fmt.Sprintf("%s %d", strings.ToUpper(q.Protocol), q.Port)), {"  ", plain},
		say(bad, strings.ToUpper(checks.Words(q.Verdict)))}
	d.lines = []line{at}
	if seen := flat(q.Seen); at.width()+2+ansi.StringWidth(seen) <= s.width {
		d.lines[0] = append(at, span{"  ", plain}, span{seen, plain})
	} else {
		d.lines = append(d.lines, labelled("Seen", q.Seen, s.width)...)
	}
	text := func(t *string) string {
		if t == nil {
			return ""
		}
		return *t
	}
	d.lines = append(d.lines, labelled("Cause", cmp.Or(text(q.Cause), "not known"), s.width)...)
	d.lines = append(d.lines, s.todo(text(q.Owner), text(q.Remedy))...)
	d.copy = commandIn(text(q.Remedy))
	if same := p.same[i]; same > 0 {
		d.lines = append(d.lines, labelled("Same", checks.Count(same, "other flow fails", "other flows fail")+" for this cause", s.width)...)
	}
	if more := p.count(fails) - 1; more > 0 {
		d.lines = append(d.lines, line{say(dim, checks.Count(more, "more fails", "more fail")+" between these two: enter shows them")})
	}
}

// ports are the flows of a pair, one by one, with the verdict of every phase that was run.
func (s scene) ports(p pair) []line {
	head := []span{say(dim, "port"), say(dim, "service")}
	var ran []int
	for i, phase := range proof.Phases {
		if slices.ContainsFunc(p.flows, func(f flow) bool { return f.in[i].ID != "" }) {
			ran = append(ran, i)
			head = append(head, say(dim, strings.ReplaceAll(string(phase), "_", " ")))
		}
	}
	cells := [][]span{head}
	for _, f := range p.flows {
		l := []span{say(strong, fmt.Sprint(f.port)), say(plain, f.service)}
		var latest proof.Proof
		for _, i := range ran {
			if q := f.in[i]; q.ID != "" && !q.At.Before(latest.At) {
				latest = q
			}
			l = append(l, verdict(f.in[i]))
		}
		cells = append(cells, append(l, say(plain, reports.SeenOf(latest))))
	}
	return append([]line{{say(strong, p.id())}}, columns(s.width, cells)...)
}

// verdict is one word of a proof, "-" for none.
func verdict(q proof.Proof) span {
	switch word := checks.Words(q.Verdict); {
	case q.Verdict.Fails():
		return say(bad, strings.ToUpper(word))
	case proven(q):
		return say(good, word)
	case q.Verdict != "":
		return say(waiting, word)
	}
	return say(dim, "-")
}
